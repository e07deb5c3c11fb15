import RPC
import Testing

@Suite(.timeLimit(.minutes(1))) struct StreamingTests {
    private static let echoStream = Method.streaming("EchoStream") { requests, responses, _ in
        for try await request in requests { try await responses.write(request) }
    }

    @Test func bothWays() async throws {
        try await withPeers([Self.echoStream]) { channel, _ in
            let received = try await channel.streaming("/test.Test/EchoStream") { requests, responses in
                var received: [[UInt8]] = []
                for number in 0..<100 {
                    try await requests.write([UInt8(number)])
                    if let response = try await responses.next() { received.append(response) }
                }
                requests.finish()
                while let response = try await responses.next() { received.append(response) }
                return received
            }
            #expect(received == (0..<100).map { [UInt8($0)] })
        }
    }

    @Test func allRequestsThenOneResponse() async throws {
        let sum = Method.streaming("Sum") { requests, responses, _ in
            var sum = 0
            for try await request in requests { sum += request.count }
            try await responses.write(Array("\(sum)".utf8))
        }
        try await withPeers([sum]) { channel, _ in
            let answer = try await channel.streaming("/test.Test/Sum") { requests, responses in
                for size in 0..<1000 { try await requests.write([UInt8](repeating: 1, count: size)) }
                requests.finish()
                let answer = try await responses.next()
                let end = try await responses.next()
                #expect(end == nil)
                #expect(responses.trailingMetadata != nil)
                return answer
            }
            #expect(answer == Array("499500".utf8))
        }
    }

    @Test func noRequestsNoResponses() async throws {
        try await withPeers([Self.echoStream]) { channel, _ in
            let first = try await channel.streaming("/test.Test/EchoStream") { requests, responses in
                requests.finish()
                return try await responses.next()
            }
            #expect(first == nil)
        }
    }

    /// A client that does not read stops the server's writes after what the windows of the connection hold.
    @Test func slowReaderHoldsTheWriterBack() async throws {
        let written = Shared(0)
        let ended = Event()
        let flood = Method.streaming("Flood") { _, responses, _ in
            defer { ended.happen() }
            let message = [UInt8](repeating: 7, count: 64 << 10)
            while true {
                try await responses.write(message)
                written.update { $0 += 1 }
            }
        }
        try await withPeers([flood]) { channel, _ in
            try await channel.streaming("/test.Test/Flood") { _, responses in
                _ = try await responses.next()
                // The writer is held back when the count stands still.
                var last = -1
                while written.value != last {
                    last = written.value
                    try await Task.sleep(for: .milliseconds(100))
                }
                #expect(last < 512, "\(last) messages of 64 KiB were taken with nobody reading")
                // And it goes on when there is a reader.
                for _ in 0..<(last + 100) { _ = try await responses.next() }
                #expect(written.value > last)
            }
            // Leaving early cancelled the call.
            #expect(await ended.wait())
        }
    }

    @Test func statusComesAfterTheResponses() async throws {
        let failing = Method.streaming("Failing") { _, responses, _ in
            for number in 0..<3 { try await responses.write([UInt8(number)]) }
            throw RPCError(.dataLoss, "三条之后没有了", metadata: ["why": "test"])
        }
        try await withPeers([failing]) { channel, _ in
            let received = Shared(0)
            let error = await rpcError {
                try await channel.streaming("/test.Test/Failing") { requests, responses in
                    requests.finish()
                    for try await _ in responses { received.update { $0 += 1 } }
                }
            }
            #expect(received.value == 3)
            #expect(error?.code == .dataLoss)
            #expect(error?.message == "三条之后没有了")
            #expect(error?.metadata["why"] == "test")
        }
    }

    @Test func leavingEarlyCancelsTheHandler() async throws {
        let cancelled = Event()
        let endless = Method.streaming("Endless") { requests, _, _ in
            do { for try await _ in requests {} } catch { cancelled.happen() }
        }
        try await withPeers([endless]) { channel, _ in
            struct Bored: Error {}
            await #expect(throws: Bored.self) {
                try await channel.streaming("/test.Test/Endless") { requests, _ in
                    try await requests.write([1])
                    throw Bored()
                }
            }
            #expect(await cancelled.wait())
        }
    }

    @Test func aWriterLearnsTheStatusThatEndedTheCall() async throws {
        let refusing = Method.streaming("Refusing") { requests, _, _ in
            _ = try await requests.next()
            throw RPCError(.invalidArgument, "no")
        }
        try await withPeers([refusing]) { channel, _ in
            let error = await rpcError {
                try await channel.streaming("/test.Test/Refusing") { requests, _ in
                    while true { try await requests.write([UInt8](repeating: 1, count: 10_000)) }
                }
            }
            #expect(error?.code == .invalidArgument)
        }
    }

    @Test func concurrentWritersTakeTurns() async throws {
        try await withPeers([Self.echoStream]) { channel, _ in
            let received = try await channel.streaming("/test.Test/EchoStream") { requests, responses in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for writer in 0..<8 {
                        group.addTask {
                            for number in 0..<50 { try await requests.write([UInt8(writer), UInt8(number)]) }
                        }
                    }
                    var received: [[UInt8]] = []
                    for _ in 0..<400 { if let response = try await responses.next() { received.append(response) } }
                    try await group.waitForAll()
                    return received
                }
            }
            for writer in 0..<8 {
                #expect(received.filter { $0[0] == writer }.map { $0[1] } == (0..<50).map { UInt8($0) })
            }
        }
    }

    @Test func aCancelledReadLosesNothing() async throws {
        let proceed = Event()
        let late = Method.streaming("Late") { _, responses, _ in
            #expect(await proceed.wait())
            try await responses.write([42])
        }
        try await withPeers([late]) { channel, _ in
            try await channel.streaming("/test.Test/Late") { requests, responses in
                let reader = Task { await rpcError { try await responses.next() } }
                reader.cancel()
                #expect(await reader.value?.code == .cancelled)
                proceed.happen()
                let response = try await responses.next()
                #expect(response == [42])
                let end = try await responses.next()
                #expect(end == nil)
            }
        }
    }

    @Test func misuseIsAnError() async throws {
        try await withPeers([Self.echoStream]) { channel, _ in
            try await channel.streaming("/test.Test/EchoStream") { requests, responses in
                try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
                    for _ in 0..<2 { group.addTask { try await responses.next() } }
                    // One of two readers is refused, and the other one gets the response.
                    let refused = await rpcError { try await group.next() }
                    #expect(refused?.code == .internalError)
                    try await requests.write([1])
                    let response = try await group.next()
                    #expect(response == [1])
                }
                requests.finish()
                requests.finish()
                let late = await rpcError { try await requests.write([2]) }
                #expect(late?.code == .failedPrecondition)
            }
        }
    }
}
