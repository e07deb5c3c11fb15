import CProtos
import Conversation
import Testing
import Wire

/// A protobuf message, written by hand: what a client of another make would send.
private struct Proto {
    var bytes: [UInt8] = []

    func varint(_ field: Int, _ value: UInt64) -> Proto { Proto(bytes: bytes + Self.encoded(UInt64(field) << 3) + Self.encoded(value)) }

    func data(_ field: Int, _ data: [UInt8]) -> Proto {
        Proto(bytes: bytes + Self.encoded(UInt64(field) << 3 | 2) + Self.encoded(UInt64(data.count)) + data)
    }

    func text(_ field: Int, _ text: String) -> Proto { data(field, Array(text.utf8)) }

    func message(_ field: Int, _ message: Proto) -> Proto { data(field, message.bytes) }

    /// An entry of a map from strings to `InferParameter`.
    func parameter(_ field: Int, _ key: String, _ value: Proto) -> Proto { message(field, Proto().text(1, key).message(2, value)) }

    private static func encoded(_ value: UInt64) -> [UInt8] {
        value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F) | 0x80] + encoded(value >> 7)
    }
}

private func int64(_ value: Int64) -> Proto { Proto().varint(2, UInt64(bitPattern: value)) }

/// The raw form of a BYTES tensor.
private func raw(_ elements: [[UInt8]]) -> [UInt8] {
    elements.flatMap { element in (0..<4).map { UInt8(truncatingIfNeeded: element.count >> (8 * $0)) } + element }
}

private func raw(_ texts: [String]) -> [UInt8] { raw(texts.map { Array($0.utf8) }) }

private func input(name: String = "text", datatype: String = "BYTES", shape: [Int64]) -> Proto {
    shape.reduce(Proto().text(1, name).text(2, datatype)) { $0.varint(3, UInt64(bitPattern: $1)) }
}

/// A request of these raw contents.
private func request(shape: [Int64], raw contents: [UInt8]) -> Proto { Proto().message(5, input(shape: shape)).data(7, contents) }

private func decode(_ proto: Proto, rowLimit: Int = 32) throws(ConversationError) -> InferenceRequest {
    try InferenceCodec.inferRequest(decoding: proto.bytes, rowLimit: rowLimit)
}

/// Expects that a request is refused as not valid, with a message that has all of `words` in it.
private func expectRefusal(_ proto: Proto, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation) {
    do {
        let request = try decode(proto)
        Issue.record("\(request) was taken; expected \(words)", sourceLocation: sourceLocation)
    } catch {
        #expect(error.code == .invalidArgument, sourceLocation: sourceLocation)
        for word in words { #expect(error.message.contains(word), "\(error.message)", sourceLocation: sourceLocation) }
    }
}

@Suite struct InferenceRequestTests {
    @Test(arguments: [[2], [2, 1]] as [[Int64]])
    func rawAndTypedContentsAreTheSame(_ shape: [Int64]) throws {
        let texts = ["我要改地址", "订单号😀"]
        let contents = texts.reduce(Proto()) { $0.text(8, $1) }
        let typed = Proto().message(5, input(shape: shape).message(5, contents))
        for request in [try decode(typed), try decode(request(shape: shape, raw: raw(texts)))] {
            #expect(request.utterances == (try texts.map { try Utterance($0) }))
            #expect(request.model == nil && request.id == "" && request.priority == .interactive && request.timeout == nil)
            #expect(request.topK == RecognitionRequest.defaultTopK && request.outputs == InferenceOutput.allCases)
        }
    }

    @Test func everyPartIsRead() throws {
        let proto = request(shape: [1], raw: raw(["你好"])).text(1, "ecommerce").text(2, "7").text(3, "id-1")
            .parameter(4, "priority", Proto().varint(5, 3)).parameter(4, "timeout", int64(250_000)).parameter(4, "top_k", int64(5))
            .message(6, Proto().text(1, "slot_name")).message(6, Proto().text(1, "intent"))
        let request = try decode(proto)
        #expect(request.model == (try ModelSelector("ecommerce@7")) && request.id == "id-1")
        #expect(request.priority == .background && request.timeout == .milliseconds(250) && request.topK == 5)
        #expect(request.outputs == [.slotName, .intent])
    }

    @Test(
        arguments: [
            (int64(0), .interactive), (int64(1), .interactive), (int64(2), .standard), (Proto().varint(5, 3), .background),
            (Proto().text(3, "2"), .standard), (Proto().text(3, "background"), .background),
        ] as [(Proto, Priority)])
    private func prioritiesAreNumbersOrNames(_ value: Proto, _ priority: Priority) throws {
        #expect(try decode(request(shape: [1], raw: raw(["a"])).parameter(4, "priority", value)).priority == priority)
    }

    @Test func parametersOutOfRangeAreRefused() throws {
        let valid = request(shape: [1], raw: raw(["a"]))
        for value in [int64(4), int64(-1), Proto().varint(5, .max), Proto().text(3, "urgent"), Proto().varint(1, 1), Proto()] {
            expectRefusal(valid.parameter(4, "priority", value), "priority", "INTERACTIVE")
        }
        expectRefusal(valid.parameter(4, "timeout", int64(-5)), "timeout", "-5", "microseconds")
        expectRefusal(valid.parameter(4, "top_k", Proto().text(3, "many")), "top_k", "many")
        expectRefusal(valid.parameter(4, "sequence_id", int64(1)), "sequence_id", "top_k")
        expectRefusal(valid.parameter(4, "priority\0", int64(1)), "U+0000")
        #expect(try decode(valid.parameter(4, "timeout", Proto().varint(5, .max))).timeout == .microseconds(Int64.max))
        #expect(try decode(valid.parameter(4, "top_k", int64(.max))).topK == .max)
    }

    @Test func rawContentsThatDoNotFitTheirShapeAreRefused() {
        expectRefusal(request(shape: [2], raw: raw(["a"])), "1 elements", "2")
        expectRefusal(request(shape: [1], raw: raw(["a", "b"])), "after element 1")
        expectRefusal(request(shape: [2], raw: raw(["a"]) + [1, 0]), "end with 2 bytes", "element 1", "4")
        expectRefusal(request(shape: [1], raw: [9, 0, 0, 0, 0x61]), "element 0", "9 bytes", "1 are left")
        expectRefusal(request(shape: [1], raw: [0xFF, 0xFF, 0xFF, 0xFF, 0x61]), "4294967295 bytes")
        expectRefusal(request(shape: [1], raw: []), "0 elements")
        expectRefusal(request(shape: [1], raw: raw(["a"])).data(7, []), "raw_input_contents has 2")
        let both = input(shape: [1]).message(5, Proto().text(8, "a"))
        expectRefusal(Proto().message(5, both).data(7, raw(["a"])), "contents", "one of them")
    }

    @Test func inputsOfAnotherKindAreRefused() {
        expectRefusal(Proto(), "0 inputs", "text")
        expectRefusal(request(shape: [1], raw: raw(["a"])).message(5, input(shape: [1])), "2 inputs")
        expectRefusal(Proto().message(5, input(name: "tokens", shape: [1])).data(7, raw(["a"])), "\"tokens\"", "text")
        expectRefusal(Proto().message(5, input(datatype: "INT64", shape: [1])).data(7, raw(["a"])), "\"INT64\"", "BYTES")
        for shape in [[], [1, 2], [1, 1, 1], [1, 0]] as [[Int64]] {
            expectRefusal(request(shape: shape, raw: raw(["a"])), "[N, 1]")
        }
        for rows in [0, -1, 33, .max, .min] as [Int64] { expectRefusal(request(shape: [rows], raw: raw(["a"])), "\(rows)", "1 to 32 rows") }
        let shared = input(shape: [1]).parameter(4, "shared_memory_region", Proto().text(3, "r"))
        expectRefusal(Proto().message(5, shared), "shared_memory_region")
        expectRefusal(Proto().message(5, input(shape: [3]).message(5, Proto().text(8, "a"))), "bytes_contents", "1", "3")
        expectRefusal(Proto().text(2, "7").message(5, input(shape: [1])).data(7, raw(["a"])), "model_version", "name")
        expectRefusal(Proto().data(1, [0xFF]).message(5, input(shape: [1])).data(7, raw(["a"])), "model_name", "UTF-8")
        #expect(throws: ConversationError.self) { try decode(Proto(bytes: [0x0A, 9])) }
    }

    @Test func rowsThatAreNotTextAreRefusedByTheirNumber() {
        let rows: [([UInt8], String)] = [
            ([], "empty"), ([0xFF], "UTF-8"), ([0x61, 0], "U+0000"), (Array(repeating: 0x61, count: 513), "513"),
        ]
        for (element, word) in rows {
            expectRefusal(request(shape: [2], raw: raw([[0x61], element])), "text[1]", word)
        }
    }

    @Test func outputsThatAreNotThereAreRefused() {
        let valid = request(shape: [1], raw: raw(["a"]))
        expectRefusal(valid.message(6, Proto().text(1, "logits")), "\"logits\"", "intent", "slot_confidence", "route")
        expectRefusal(valid.message(6, Proto().text(1, "intent")).message(6, Proto().text(1, "intent")), "twice")
        expectRefusal(
            valid.message(6, Proto().text(1, "intent").parameter(2, "classification", int64(3))), "classification", "intent")
    }

    @Test func changedBytesDoNotCrash() throws {
        let whole = request(shape: [3], raw: raw(["我要改地址", "b", "c"])).text(1, "ecommerce").parameter(4, "priority", int64(2)).bytes
        for length in 0..<whole.count { _ = try? InferenceCodec.inferRequest(decoding: Array(whole.prefix(length)), rowLimit: 4) }
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var bytes = whole
            for _ in 0..<3 { bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator) }
            _ = try? InferenceCodec.inferRequest(decoding: bytes, rowLimit: 4)
            _ = try? InferenceCodec.modelReadyRequest(decoding: bytes)
        }
    }
}

@Suite struct InferenceResponseTests {
    private let recognitions = [
        Recognition(
            intents: [Intent(name: "a", confidence: 0.75), Intent(name: "b", confidence: 0.25)],
            slots: [
                RecognizedSlot(value: SlotValue(name: "order_id", value: "７", normalized: "7"), range: 2..<3, confidence: 0.5),
                RecognizedSlot(value: SlotValue(name: "phone", value: "1", normalized: "1"), range: 5..<6, confidence: 0.25),
            ], model: "ecommerce@1"),
        Recognition(intents: [Intent(name: "c", confidence: 1)], model: "ecommerce@1", route: .cache),
    ]

    /// The shape and the raw contents of each output of a response.
    private func tensors(_ recognitions: [Recognition], _ outputs: [InferenceOutput]) throws -> [String: ([Int64], [UInt8])] {
        var request = try decode(request(shape: [1], raw: raw(["a"])).text(3, "id-1"))
        request.outputs = outputs
        let bytes = InferenceCodec.inferResponse(recognitions, to: request, defaultModel: "ecommerce")
        let unpacked = try #require(
            bytes.withUnsafeBufferPointer { inference__model_infer_response__unpack(nil, $0.count, $0.baseAddress) })
        defer { inference__model_infer_response__free_unpacked(unpacked, nil) }
        let message = unpacked.pointee
        func string(_ data: ProtobufCBinaryData) -> String {
            String(decoding: UnsafeBufferPointer(start: data.data, count: data.len), as: UTF8.self)
        }
        #expect(string(message.id) == "id-1" && string(message.model_name) == "ecommerce" && string(message.model_version) == "1")
        #expect(message.n_outputs == outputs.count && message.n_raw_output_contents == outputs.count)
        var tensors: [String: ([Int64], [UInt8])] = [:]
        for index in 0..<message.n_outputs {
            let tensor = try #require(message.outputs[index]).pointee
            #expect(string(tensor.name) == outputs[index].rawValue && string(tensor.datatype) == outputs[index].datatype)
            let contents = message.raw_output_contents[index]
            tensors[string(tensor.name)] = (
                Array(UnsafeBufferPointer(start: tensor.shape, count: tensor.n_shape)),
                Array(UnsafeBufferPointer(start: contents.data, count: contents.len))
            )
        }
        return tensors
    }

    private func words(_ values: [UInt32]) -> [UInt8] {
        values.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    @Test func linesAreFilledUpToTheLongest() throws {
        let tensors = try tensors(recognitions, InferenceOutput.allCases)
        #expect(tensors.count == 11)
        func expect(_ name: String, _ shape: [Int64], _ contents: [UInt8]) {
            #expect(tensors[name]?.0 == shape, "\(name)")
            #expect(tensors[name]?.1 == contents, "\(name)")
        }
        expect("intent", [2, 2], raw(["a", "b", "c", ""]))
        expect("confidence", [2, 2], words([0.75, 0.25, 1, 0].map { (value: Float) in value.bitPattern }))
        expect("slot_count", [2], words([2, 0]))
        expect("slot_name", [2, 2], raw(["order_id", "phone", "", ""]))
        expect("slot_value", [2, 2], raw(["７", "1", "", ""]))
        expect("slot_normalized", [2, 2], raw(["7", "1", "", ""]))
        expect("slot_start", [2, 2], words([2, 5, 0, 0]))
        expect("slot_end", [2, 2], words([3, 6, 0, 0]))
        expect("slot_confidence", [2, 2], words([0.5, 0.25, 0, 0].map { (value: Float) in value.bitPattern }))
        expect("model", [2], raw(["ecommerce@1", "ecommerce@1"]))
        expect("route", [2], raw(["model", "cache"]))
    }

    @Test func noSlotsAreATensorWithoutElements() throws {
        let tensors = try tensors([recognitions[1]], [.slotValue, .slotStart])
        for name in ["slot_value", "slot_start"] {
            #expect(tensors[name]?.0 == [1, 0])
            #expect(tensors[name]?.1 == [])
        }
    }
}
