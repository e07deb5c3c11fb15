import Foundation
import Glibc
import RPC
import Testing

/// The gRPC of Python as the other side. The environment variable `KEFU_PYTHON` names an interpreter that has `grpcio`.
@Suite(
    .timeLimit(.minutes(1)),
    .enabled(if: ProcessInfo.processInfo.environment["KEFU_PYTHON"] != nil, "KEFU_PYTHON names no Python interpreter with grpcio"))
struct PythonPeerTests {
    private static let methods: [RPC.Method] = [
        echo,
        .unary("Fail") { _, _ in throw RPCError(.notFound, "没有这个订单", metadata: ["why": "test"]) },
        .unary("Metadata") { _, context in
            try context.setInitialMetadata(["first": context.metadata["sent"].map { .text($0) } ?? ""])
            var trailing: Metadata = [:]
            trailing.append("last-bin", context.metadata.binary("sent-bin") ?? [])
            try context.setTrailingMetadata(trailing)
            return []
        },
        .streaming("EchoStream") { requests, responses, _ in
            for try await request in requests { try await responses.write(request) }
        },
    ]

    @Test func aPythonClient() async throws {
        let script = """
            import sys, gzip, grpc
            channel = grpc.insecure_channel(sys.argv[1])
            call = lambda name: channel.unary_unary("/test.Test/" + name)
            assert call("Echo")("你好".encode(), timeout=10) == "你好".encode()
            assert call("Echo")(b"", timeout=10) == b""
            zipped = channel.unary_unary("/test.Test/Echo")
            assert zipped(b"x" * 100000, timeout=10, compression=grpc.Compression.Gzip) == b"x" * 100000
            def status(name, request=b"", **options):
                try:
                    call(name)(request, timeout=10, **options)
                except grpc.RpcError as error:
                    return error
                raise SystemExit(name + " did not fail")
            error = status("Fail")
            assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "没有这个订单", error
            assert ("why", "test") in [(pair.key, pair.value) for pair in error.trailing_metadata()]
            assert status("Nothing").code() == grpc.StatusCode.UNIMPLEMENTED
            assert status("Echo", b"x" * (5 << 20)).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            # Within the bound when compressed, beyond it when not.
            bomb = status("Echo", b"x" * (50 << 20), compression=grpc.Compression.Gzip)
            assert bomb.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, bomb
            sent = [("sent", "yes"), ("sent-bin", bytes(range(256)))]
            _, done = call("Metadata").with_call(b"", metadata=sent, timeout=10)
            assert ("first", "yes") in [(pair.key, pair.value) for pair in done.initial_metadata()]
            assert ("last-bin", bytes(range(256))) in [(pair.key, pair.value) for pair in done.trailing_metadata()]
            stream = channel.stream_stream("/test.Test/EchoStream")
            messages = [b"%d" % number for number in range(100)]
            assert list(stream(iter(messages), timeout=10)) == messages
            # A unary method without a request.
            try:
                list(channel.stream_stream("/test.Test/Echo")(iter([]), timeout=10))
                raise SystemExit("no request did not fail")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.INTERNAL, error
            print("all well")
            """
        try await withPeers(Self.methods) { _, server in
            let output = try await Python.run(script, ["127.0.0.1:\(server.port)"])
            #expect(output == "all well\n")
        }
    }

    @Test func aPythonServer() async throws {
        let script = """
            import sys, grpc
            from concurrent import futures
            def fail(request, context):
                context.set_trailing_metadata([("why", "test")])
                context.abort(grpc.StatusCode.NOT_FOUND, "没有这个订单")
            handlers = grpc.method_handlers_generic_handler("test.Test", {
                "Echo": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
                "Fail": grpc.unary_unary_rpc_method_handler(fail),
                "EchoStream": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
            })
            server = grpc.server(futures.ThreadPoolExecutor(4))
            server.add_generic_rpc_handlers([handlers])
            print(server.add_insecure_port("127.0.0.1:0"), flush=True)
            server.start()
            sys.stdin.read()
            server.stop(0).wait()
            """
        let server = try Python(script, [])
        defer { server.end() }
        let port = try #require(server.readLine())
        let queue = CompletionQueue()
        let channel = try Channel("127.0.0.1:\(port)", queue: queue)
        let response = try await channel.unary(
            "/test.Test/Echo", Array("你好".utf8), options: CallOptions(timeout: .seconds(10), waitForReady: true))
        #expect(response.message == Array("你好".utf8))
        let error = await rpcError { try await channel.unary("/test.Test/Fail", []) }
        #expect(error?.code == .notFound)
        #expect(error?.message == "没有这个订单")
        #expect(error?.metadata["why"] == "test")
        let received = try await channel.streaming("/test.Test/EchoStream") { requests, responses in
            for number in 0..<100 { try await requests.write([UInt8(number)]) }
            requests.finish()
            var received: [[UInt8]] = []
            for try await response in responses { received.append(response) }
            return received
        }
        #expect(received == (0..<100).map { [UInt8($0)] })
        await channel.close()
        await queue.shutdown()
    }

    /// A client that is killed in the middle of a call.
    @Test func aPythonClientThatDies() async throws {
        let began = Event()
        let cancelled = Event()
        let endless = RPC.Method.unary("Endless") { request, _ in
            began.happen()
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled.happen() }
            return request
        }
        try await withPeers([endless]) { _, server in
            let script = "import sys, grpc; grpc.insecure_channel(sys.argv[1]).unary_unary('/test.Test/Endless')(b'')"
            let client = try Python(script, ["127.0.0.1:\(server.port)"])
            #expect(await began.wait())
            client.kill()
            #expect(await cancelled.wait())
        }
    }
}

/// A Python process.
private final class Python {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()

    init(_ script: String, _ arguments: [String]) throws {
        let interpreter = try #require(ProcessInfo.processInfo.environment["KEFU_PYTHON"])
        process.executableURL = URL(fileURLWithPath: interpreter)
        process.arguments = ["-c", script] + arguments
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    /// Runs a script to its end and returns what it printed.
    static func run(_ script: String, _ arguments: [String]) async throws -> String {
        try await Task.detached {
            let python = try Python(script, arguments)
            let printed = python.output.fileHandleForReading.readDataToEndOfFile()
            python.process.waitUntilExit()
            #expect(python.process.terminationStatus == 0)
            return String(decoding: printed, as: UTF8.self)
        }.value
    }

    func readLine() -> String? {
        var line: [UInt8] = []
        while let byte = output.fileHandleForReading.readData(ofLength: 1).first {
            if byte == UInt8(ascii: "\n") { return String(decoding: line, as: UTF8.self) }
            line.append(byte)
        }
        return nil
    }

    /// Ends its standard input and waits for it.
    func end() {
        input.fileHandleForWriting.closeFile()
        process.waitUntilExit()
    }

    func kill() {
        Glibc.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}
