import ArgumentParser
import Conversation
import Foundation
import RPC
import ServiceKit
import Wire

struct Chat: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Talks with an orchestrator in the terminal, and shows intent, slots and state after each turn.",
        discussion: "Ends at the end of the input (Ctrl-D).")

    @Option(help: "The orchestrator, HOST:PORT or unix:PATH, by TLS with tls: in front.")
    var server: String
    @Option(help: "Whose conversation it is.")
    var uid = "terminal"
    @Option(help: "A file with one message a line to play, instead of the keyboard; # begins a comment.")
    var script: String?
    @OptionGroup var tls: TLSOptions

    func run() async throws {
        Self.endOnControlC()
        let security = try TransportSecurity(await Settings(flags: tls.flags, file: nil, environment: Program.environment))
        let queue = CompletionQueue(name: "chat")
        let channel = try security.channel(server, queue: queue)
        do {
            let uid = try UserID(uid)
            var scripted = try script.map { try String(contentsOfFile: $0, encoding: .utf8).split(separator: "\n").makeIterator() }
            while let line = scripted == nil ? typedLine() : scripted?.next().map(String.init) {
                let text = line.trimmingCharacters(in: .whitespaces)
                guard !text.isEmpty, !text.hasPrefix("#") else { continue }
                if script != nil { print("\n你   > \(text)") }
                do {
                    try await say(text, uid, channel)
                } catch let error as ConversationError {
                    print("     ! \(error)")
                }
            }
        } catch {
            await channel.close()
            await queue.shutdown()
            throw error
        }
        await channel.close()
        await queue.shutdown()
    }

    /// Ends the process at SIGINT or SIGTERM.
    ///
    /// Threads of the concurrency pool block every signal, and so do those that they start: there may be none to take Ctrl-C. A thread
    /// that waits for it gets it whatever the others block.
    private static func endOnControlC() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        Thread.detachNewThread { [signals] in
            var signals = signals
            pthread_sigmask(SIG_BLOCK, &signals, nil)
            var signal: Int32 = 0
            sigwait(&signals, &signal)
            _exit(128 + signal)
        }
    }

    private func typedLine() -> String? {
        print("\n你   > ", terminator: "")
        fflush(nil)
        return readLine()
    }

    private func say(_ text: String, _ uid: UserID, _ channel: Channel) async throws {
        let request = DialogueCodec.replyRequest(Message(uid: uid, query: try Utterance(text), seq: nil))
        let began = ContinuousClock.now
        let response = try await channel.unary(
            "/kefu.dialogue.v1.Dialogue/Reply", request, options: CallOptions(timeout: .seconds(15), waitForReady: true))
        let took = ContinuousClock.now - began
        switch try DialogueCodec.replyResponse(decoding: response.message) {
        case .reply(let reply): show(reply, took)
        case .agents(_, let messages): for message in messages { print("\(message.agent): \(message.text)") }
        case .failure(_, _, let code, let message, _): print("     ! \(code): \(message)")
        }
    }

    private func show(_ reply: Reply, _ took: Duration) {
        print("客服 > " + reply.text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n       "))
        var state: [String] = []
        if let recognition = reply.recognition {
            state.append("intent \(recognition.intent.name) \(String(format: "%.2f", recognition.intent.confidence))")
            if !recognition.variant.isEmpty { state.append("variant \(recognition.variant)") }
        }
        if !reply.session.slots.isEmpty {
            state.append("slots " + reply.session.slots.map { "\($0.name)=\($0.normalized)" }.joined(separator: " "))
        }
        if let flow = reply.session.flow { state.append("flow \(flow)") }
        if !reply.session.suspendedFlows.isEmpty { state.append("suspended \(reply.session.suspendedFlows.joined(separator: " "))") }
        switch reply.session.awaiting {
        case .nothing: break
        case .slot(let name): state.append("awaiting \(name)")
        case .confirmation, .handoff: state.append("awaiting confirm")
        }
        if reply.session.handedOff { state.append("handed off") }
        if !reply.degradedParts.isEmpty { state.append("degraded \(reply.degradedParts.joined(separator: " "))") }
        let milliseconds = Double(took.components.attoseconds) / 1e15 + Double(took.components.seconds) * 1e3
        state.append("turn \(reply.session.turns)")
        state.append(String(format: "%.1f ms", milliseconds))
        print("       \(state.joined(separator: " · "))")
    }
}
