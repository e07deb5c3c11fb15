import ArgumentParser
import Conversation
import Foundation
import RPC
import ServiceKit
import Wire

struct Ask: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints what a running intent server recognises in texts.")

    @Option(help: "The intent server, HOST:PORT or unix:PATH, by TLS with tls: in front.")
    var server: String
    @Option(help: "NAME or NAME@VERSION of a model. (default: the server's)")
    var model: String?
    @OptionGroup var tls: TLSOptions
    @Argument(help: "The texts.")
    var texts: [String]

    func run() async throws {
        let security = try TransportSecurity(await Settings(flags: tls.flags, file: nil, environment: Program.environment))
        let queue = CompletionQueue(name: "ask")
        let channel = try security.channel(server, queue: queue)
        let failed: (any Error)?
        do {
            for text in texts { try await ask(text, channel) }
            failed = nil
        } catch {
            failed = error
        }
        await channel.close()
        await queue.shutdown()
        if let failed { throw failed }
    }

    private func ask(_ text: String, _ channel: Channel) async throws {
        let request = RecognitionRequest(utterance: try Utterance(text), model: try model.map { try ModelSelector($0) })
        let response = try await channel.unary(
            "/kefu.understanding.v1.Understanding/Understand", UnderstandingCodec.understandRequest(request),
            options: CallOptions(timeout: .seconds(15)))
        switch try UnderstandingCodec.understandResponse(decoding: response.message) {
        case .failure(_, let code, let message): print("\(text)\n  ! \(code): \(message)")
        case .recognition(let recognition, _):
            print(text)
            for intent in recognition.intents { print("  \(String(format: "%.3f", intent.confidence))  \(intent.name)") }
            for slot in recognition.slots {
                print(
                    "  [\(slot.range.lowerBound), \(slot.range.upperBound))  \(slot.value.name) = \(slot.value.value) → \(slot.value.normalized)"
                )
            }
            let timing = recognition.timing
            let queue = String(format: "%.2f", timing.queue / .milliseconds(1))
            let compute = String(format: "%.2f", timing.compute / .milliseconds(1))
            let batch = "batch of \(timing.batchSize) × \(timing.paddedLength)"
            print("  \(recognition.model) · queue \(queue) ms · compute \(compute) ms · \(batch)")
        }
    }
}
