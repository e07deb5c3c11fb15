import Conversation
import Testing
import Wire

/// The bytes come from the official stubs (tensorflow-serving-api 2.21.0, tf.make_tensor_proto).
@Suite struct TensorFlowCodecTests {
    private static let values =
        "0a240a057265706c79121b08071204120208024209e4bda0e5a5bde591804206e5868de8a7810a170a0573636f7265120e08011204120208012a040000003f"
        + "120e0a08636869746368617412020807"
    private static let scalar =
        "0a180a057265706c79120f080712004209e4bda0e5a5bde591800a170a0573636f7265120e08011204120208012a040000003f120e0a0863686974636861741202"
        + "0807"
    /// Two strings in tensor_content, of 9 and of 180 bytes: the second length is a varint of two bytes.
    private static let packed =
        "0ad5010a057265706c7912cb01080712041202080222c00109b401e4bda0e5a5bde59180" + String(repeating: "e995bf", count: 60)
        + "0a170a0573636f7265120e08011204120208012a040000003f120e0a08636869746368617412020807"

    private static func bytes(_ hex: String) -> [UInt8] {
        stride(from: 0, to: hex.utf8.count, by: 2).compactMap { UInt8(hex.dropFirst($0).prefix(2), radix: 16) }
    }

    @Test(arguments: [values, scalar, packed]) func stringsAreReadInEveryForm(_ hex: String) throws {
        #expect(try TensorFlowCodec.firstString(of: "reply", inPredictResponse: Self.bytes(hex)) == "你好呀")
    }

    @Test func whatIsNotAStringIsRefused() throws {
        for (output, word) in [("score", "DT_STRING"), ("other", "no output 'other'")] {
            #expect {
                try TensorFlowCodec.firstString(of: output, inPredictResponse: Self.bytes(Self.values))
            } throws: { ("\($0)").contains(word) }
        }
    }

    @Test func brokenPackedStringsAreRefused() throws {
        let good = Self.bytes(Self.packed)
        let lengths = try #require(good.indices.first { good[$0...].starts(with: [0x09, 0xB4, 0x01]) })
        for (at, byte) in [(lengths, 0x0A), (lengths + 1, 0xFF), (lengths + 2, 0x80)] as [(Int, UInt8)] {
            var broken = good
            broken[at] = byte
            #expect {
                try TensorFlowCodec.firstString(of: "reply", inPredictResponse: broken)
            } throws: { ($0 as? ConversationError)?.code == .internalError }
        }
    }

    @Test func cutResponsesNeverCrash() {
        for form in [Self.values, Self.scalar, Self.packed] {
            let good = Self.bytes(form)
            for end in good.indices { _ = try? TensorFlowCodec.firstString(of: "reply", inPredictResponse: Array(good[..<end])) }
            for index in good.indices {
                var changed = good
                changed[index] ^= 0xFF
                _ = try? TensorFlowCodec.firstString(of: "reply", inPredictResponse: changed)
            }
        }
    }

    @Test func aRequestIsWhatTheOfficialStubsMake() {
        let request = TensorFlowCodec.predictRequest(
            model: "chitchat", signature: "serving_default", version: 7, inputs: [("text", "你好")])
        let expected =
            "0a1f0a086368697463686174120208071a0f73657276696e675f64656661756c7412180a0474657874121008071204120208014206e4bda0e5a5bd"
        #expect(request == Self.bytes(expected))
    }

    @Test func availableVersionsAreRead() throws {
        #expect(try TensorFlowCodec.availableVersions(inModelStatusResponse: Self.bytes("0a04080310320a040804101e")) == [4])
    }
}
