import RPC
import Testing

@Suite(.timeLimit(.minutes(1))) struct CallTests {
    /// Waits until its task is cancelled, and says so.
    private static func endless(_ began: Event, _ cancelled: Event) -> RPC.Method {
        .unary("Endless") { request, _ in
            began.happen()
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.happen() }
            return request
        }
    }

    // MARK: Deadlines

    @Test func theDeadlineEndsBothSides() async throws {
        let began = Event()
        let cancelled = Event()
        try await withPeers([Self.endless(began, cancelled)]) { channel, _ in
            // Connected first, so that the time goes to the handler.
            _ = await rpcError { try await channel.unary("/test.Test/Nothing", []) }
            let start = ContinuousClock.now
            let error = await rpcError {
                try await channel.unary("/test.Test/Endless", [], options: CallOptions(timeout: .seconds(1)))
            }
            #expect(error?.code == .deadlineExceeded)
            #expect(ContinuousClock.now - start < .seconds(10))
            #expect(await cancelled.wait())
        }
    }

    /// Deadlines that pass at any stage of a call: no handler is left that began and is not cancelled.
    @Test func everyHandlerEndsAtItsDeadline() async throws {
        let underWay = Shared(0)
        let method = RPC.Method.unary("Endless") { request, _ in
            underWay.update { $0 += 1 }
            defer { underWay.update { $0 -= 1 } }
            try await Task.sleep(for: .seconds(600))
            return request
        }
        try await withPeers([method]) { channel, _ in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<400 {
                    group.addTask {
                        let options = CallOptions(timeout: .microseconds(number * 100))
                        let error = await rpcError { try await channel.unary("/test.Test/Endless", [], options: options) }
                        #expect(error?.code == .deadlineExceeded)
                    }
                }
            }
            while underWay.value > 0 { try await Task.sleep(for: .milliseconds(5)) }
        }
    }

    /// The server keeps the deadline by itself: nothing of the client reaches it when the deadline passes.
    @Test func theServerKeepsTheDeadlineByItself() async throws {
        let began = Event()
        let cancelled = Event()
        let method = Self.endless(began, cancelled)
        try await withPeers([method]) { channel, server in
            let relay = try Relay(to: server.port)
            defer { relay.stop() }
            let through = try Channel("127.0.0.1:\(relay.port)", queue: channel.queue)
            _ = await rpcError { try await through.unary("/test.Test/Nothing", []) }
            async let error = rpcError {
                try await through.unary("/test.Test/Endless", [], options: CallOptions(timeout: .seconds(1)))
            }
            #expect(await began.wait())
            // Nothing of the client reaches the server any more, so no cancellation does.
            relay.freeze()
            #expect(await cancelled.wait())
            #expect(await error?.code == .deadlineExceeded)
            await through.close()
        }
    }

    @Test func theHandlerKnowsTheDeadline() async throws {
        let method = RPC.Method.unary("Left") { _, context in
            guard let deadline = context.deadline else { return [] }
            return Array("\(Int((deadline - .now) / .milliseconds(1)))".utf8)
        }
        try await withPeers([method]) { channel, _ in
            let response = try await channel.unary("/test.Test/Left", [], options: CallOptions(timeout: .seconds(30)))
            let left = try #require(Int(String(decoding: response.message, as: UTF8.self)))
            #expect((20_000...30_500).contains(left))
            let none = try await channel.unary("/test.Test/Left", [])
            #expect(none.message.isEmpty)
            let earlier = try await channel.unary(
                "/test.Test/Left", [], options: CallOptions(timeout: .seconds(300), deadline: .now + .seconds(20)))
            let leftOfEarlier = try #require(Int(String(decoding: earlier.message, as: UTF8.self)))
            #expect((10_000...20_500).contains(leftOfEarlier))
        }
    }

    @Test func aDeadlineInThePast() async throws {
        try await withPeers([echo]) { channel, _ in
            for options in [CallOptions(timeout: .zero), CallOptions(timeout: .seconds(-5)), CallOptions(deadline: .now - .seconds(1))] {
                let error = await rpcError { try await channel.unary("/test.Test/Echo", [1], options: options) }
                #expect(error?.code == .deadlineExceeded)
            }
        }
    }

    // MARK: Cancellation

    @Test func cancellingTheTaskCancelsTheHandler() async throws {
        let began = Event()
        let cancelled = Event()
        try await withPeers([Self.endless(began, cancelled)]) { channel, _ in
            let call = Task { await rpcError { try await channel.unary("/test.Test/Endless", []) } }
            #expect(await began.wait())
            call.cancel()
            #expect(await call.value?.code == .cancelled)
            #expect(await cancelled.wait())
        }
    }

    @Test func aTaskThatIsCancelledAlready() async throws {
        try await withPeers([echo]) { channel, _ in
            let call = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return await rpcError { try await channel.unary("/test.Test/Echo", []) }
            }
            #expect(await call.value?.code == .cancelled)
        }
    }

    /// Cancellation and completion race; each call ends in exactly one way, and nothing is left over.
    @Test func cancellationRacesWithCompletion() async throws {
        try await withPeers([echo]) { channel, _ in
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<500 {
                    group.addTask {
                        let call = Task {
                            do { return try await channel.unary("/test.Test/Echo", [1]).message == [1] } catch {
                                return (error as? RPCError)?.code == .cancelled
                            }
                        }
                        for _ in 0..<(number % 7) { await Task.yield() }
                        call.cancel()
                        #expect(await call.value)
                    }
                }
            }
        }
    }

    @Test func aBrokenConnectionCancelsTheHandler() async throws {
        let began = Event()
        let cancelled = Event()
        try await withPeers([Self.endless(began, cancelled)]) { channel, server in
            let relay = try Relay(to: server.port)
            let through = try Channel("127.0.0.1:\(relay.port)", queue: channel.queue)
            async let error = rpcError { try await through.unary("/test.Test/Endless", []) }
            #expect(await began.wait())
            relay.stop()
            #expect(await error?.code == .unavailable)
            #expect(await cancelled.wait())
            await through.close()
        }
    }

    // MARK: Metadata and status

    @Test func metadataTravelsBothWays() async throws {
        let method = RPC.Method.unary("Metadata") { _, context in
            #expect(context.method == "/test.Test/Metadata")
            #expect(context.peer.hasPrefix("ipv4:127.0.0.1:"))
            #expect(context.peerIdentities.isEmpty)
            #expect(context.metadata["user-agent"]?.contains("grpc") == true)
            #expect(context.metadata.values("twice") == ["1", "2"])
            var initial: Metadata = ["first": "yes"]
            initial.append("copy-bin", context.metadata.binary("some-bin") ?? [])
            try context.setInitialMetadata(initial)
            try context.setTrailingMetadata(["last": context.metadata["text"].map { .text($0) } ?? ""])
            return []
        }
        let bytes: [UInt8] = [0, 255, 10, 13, 44, 128]
        try await withPeers([method]) { channel, _ in
            let metadata: Metadata = ["Text": "a b,c", "twice": "1", "twice": "2", "some-bin": .binary(bytes)]
            let response = try await channel.unary("/test.Test/Metadata", [], options: CallOptions(metadata: metadata))
            #expect(response.initialMetadata["first"] == "yes")
            #expect(response.initialMetadata.binary("copy-bin") == bytes)
            #expect(response.trailingMetadata["last"] == "a b,c")
        }
    }

    @Test func metadataThatIsNotLegalIsRefused() async throws {
        let method = RPC.Method.unary("Bad") { _, context in
            try context.setTrailingMetadata(["x": "中"])
            return []
        }
        try await withPeers([echo, method]) { channel, _ in
            let bad: [Metadata] = [
                ["": "x"], ["a b": "x"], ["x": "中文"], ["x": "a\nb"], ["x-bin": "text"], ["x": .binary([1])], ["grpc-status": "0"],
                ["te": "x"],
                [":path": "x"],
            ]
            for metadata in bad {
                let error = await rpcError { try await channel.unary("/test.Test/Echo", [], options: CallOptions(metadata: metadata)) }
                #expect(error?.code == .invalidArgument)
            }
            let error = await rpcError { try await channel.unary("/test.Test/Bad", []) }
            #expect(error?.code == .invalidArgument)
        }
    }

    @Test func aThrownRPCErrorIsTheStatus() async throws {
        let message = "找不到订单 100% \u{1F600}\n第二行"
        let method = RPC.Method.unary("Fail") { request, _ in
            var metadata: Metadata = ["retry": "never"]
            metadata.append("detail-bin", [0, 1, 2])
            metadata.append("not legal", "left out")
            throw RPCError(RPCError.Code(rawValue: Int(request[0])), message, metadata: metadata)
        }
        try await withPeers([method]) { channel, _ in
            for code in 1...16 {
                let error = await rpcError { try await channel.unary("/test.Test/Fail", [UInt8(code)]) }
                #expect(error?.code.rawValue == code)
                #expect(error?.message == message)
                #expect(error?.metadata["retry"] == "never")
                #expect(error?.metadata.binary("detail-bin") == [0, 1, 2])
            }
            // OK is no error, so it cannot be thrown.
            let error = await rpcError { try await channel.unary("/test.Test/Fail", [0]) }
            #expect(error?.code == .unknown)
        }
    }

    @Test func anyOtherErrorTellsNothing() async throws {
        struct Secret: Error { let password = "hunter2" }
        let method = RPC.Method.unary("Fail") { _, _ in throw Secret() }
        try await withPeers([method]) { channel, _ in
            let error = await rpcError { try await channel.unary("/test.Test/Fail", []) }
            #expect(error?.code == .internalError)
            #expect(error?.message == "the server failed to handle the call")
        }
    }

    // MARK: Sizes

    @Test func messagesThatAreTooLarge() async throws {
        let grow = RPC.Method.unary("Grow") { request, _ in [UInt8](repeating: 1, count: request.count * 100) }
        let growStream = RPC.Method.streaming("GrowStream") { requests, responses, _ in
            for try await request in requests { try await responses.write([UInt8](repeating: 1, count: request.count * 100)) }
        }
        try await withPeers(
            [grow, growStream, echo],
            server: {
                $0.maximumRequestBytes = 10_000
                $0.maximumResponseBytes = 500_000
            },
            channel: {
                $0.maximumRequestBytes = 20_000
                $0.maximumResponseBytes = 100_000
            }
        ) { channel, _ in
            func call(_ count: Int, _ method: String = "Grow") async throws -> Int {
                try await channel.unary("/test.Test/\(method)", [UInt8](repeating: 0, count: count)).message.count
            }
            let grown = try await call(1_000)
            #expect(grown == 100_000)
            let echoed = try await call(10_000, "Echo")
            #expect(echoed == 10_000)
            // The client refuses the request, the server refuses the request, the client refuses the response, the server refuses the response.
            for (count, method, whose) in [
                (20_001, "Echo", "channel sends at most 20000"), (10_001, "Echo", "10001 vs. 10000"), (1_001, "Grow", "100100 vs. 100000"),
                (5_001, "Grow", "server sends at most 500000"),
            ] {
                let error = await rpcError { try await call(count, method) }
                #expect(error?.code == .resourceExhausted)
                #expect(error?.message.contains(whose) == true, "\(error?.message ?? "")")
            }
            for count in [20_001, 10_001, 1_001, 5_001] {
                let error = await rpcError {
                    try await channel.streaming("/test.Test/GrowStream") { requests, responses in
                        try await requests.write([1])
                        let small = try await responses.next()
                        #expect(small?.count == 100)
                        try await requests.write([UInt8](repeating: 0, count: count))
                        requests.finish()
                        while try await responses.next() != nil {}
                    }
                }
                #expect(error?.code == .resourceExhausted, "\(count): \(error.map { "\($0)" } ?? "")")
            }
        }
    }

    @Test func metadataThatIsTooLarge() async throws {
        try await withPeers([echo], server: { $0.maximumMetadataBytes = 2_000 }) { channel, _ in
            let metadata: Metadata = ["large": .text(String(repeating: "x", count: 5_000))]
            let error = await rpcError { try await channel.unary("/test.Test/Echo", [], options: CallOptions(metadata: metadata)) }
            #expect(error?.code == .resourceExhausted)
            // Now and then the core closes the connection as well ("Socket closed"): the calls on it fail, and the next one gets a new one.
            var response = try? await channel.unary("/test.Test/Echo", [1])
            if response == nil { response = try await channel.unary("/test.Test/Echo", [1], options: CallOptions(waitForReady: true)) }
            #expect(response?.message == [1])
        }
    }

    /// The size of a message is only refused when all of it is there; until then the bound on memory holds.
    @Test func aRequestBeyondTheBoundOnMemoryIsCutShort() async throws {
        try await withPeers([echo], server: { $0.maximumReceiveMemory = 16 << 20 }) { channel, _ in
            let huge = [UInt8](repeating: 1, count: 100 << 20)
            let options = CallOptions(timeout: .seconds(30), waitForReady: true)
            let error = await rpcError { try await channel.unary("/test.Test/Echo", huge, options: options) }
            #expect(error.map { [.resourceExhausted, .unavailable].contains($0.code) } == true, "\(error.map { "\($0)" } ?? "")")
            let response = try await channel.unary("/test.Test/Echo", [1], options: options)
            #expect(response.message == [1])
        }
    }

    @Test func keepaliveFindsADeadConnection() async throws {
        let began = Event()
        let cancelled = Event()
        try await withPeers([Self.endless(began, cancelled)]) { channel, server in
            let relay = try Relay(to: server.port)
            defer { relay.stop() }
            var configuration = Channel.Configuration()
            configuration.keepaliveTime = .milliseconds(200)
            configuration.keepaliveTimeout = .milliseconds(200)
            let through = try Channel("127.0.0.1:\(relay.port)", configuration: configuration, queue: channel.queue)
            async let error = rpcError { try await through.unary("/test.Test/Endless", []) }
            #expect(await began.wait())
            relay.freeze()
            #expect(await error?.code == .unavailable)
            await through.close()
        }
    }
}
