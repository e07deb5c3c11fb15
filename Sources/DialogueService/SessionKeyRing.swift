public import Conversation
import Crypto
import Foundation

/// The keys with which what customers say is encrypted before it is stored: AES-256 in Galois/Counter Mode (NIST SP 800-38D), a random nonce of
/// 96 bits for each value.
///
/// The first key encrypts; all of them decrypt. To rotate, put a new key first, and take the old one out when the last session that it encrypted
/// has expired. One key must not encrypt more than 2^32 values.
public struct SessionKeyRing: Sendable, CustomStringConvertible, CustomReflectable {
    private struct Key {
        let id: String
        let secret: SymmetricKey
    }

    /// What is encrypted begins with a zero, as no protobuf message does, and the version of this form.
    private static let mark: [UInt8] = [0, 1]

    private let keys: [Key]

    /// Keys from text: a line each with the key's name, a space, and 32 bytes in base64. Empty lines, and lines that begin with `#`, are skipped.
    ///
    /// - Throws: ``ConversationError`` of the code `invalidArgument`, which names the line, and no key.
    public init(text: String) throws(ConversationError) {
        var keys: [Key] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.isEmpty || words[0].hasPrefix("#") { continue }
            guard words.count == 2, Self.isName(words[0]), let secret = Data(base64Encoded: String(words[1])), secret.count == 32 else {
                throw ConversationError(
                    .invalidArgument,
                    """
                    line \(index + 1) of the session keys is not a name (1 to 32 letters, digits, '-', '_' or '.'), a space, and 32 bytes in \
                    base64, as 'openssl rand -base64 32' makes them
                    """)
            }
            guard !keys.contains(where: { $0.id == words[0] }) else {
                throw ConversationError(.invalidArgument, "line \(index + 1) of the session keys has the name of an earlier line")
            }
            keys.append(Key(id: String(words[0]), secret: SymmetricKey(data: secret)))
        }
        if keys.isEmpty { throw ConversationError(.invalidArgument, "there is no key among the session keys; at least one is expected") }
        self.keys = keys
    }

    private static func isName(_ word: Substring) -> Bool {
        (1...32).contains(word.utf8.count) && word.utf8.allSatisfy { $0 != UInt8(ascii: "#") && (0x21...0x7E).contains($0) }
            && word.allSatisfy { $0.isLetter || $0.isNumber || "-_.".contains($0) }
    }

    /// Whether a stored value is encrypted.
    static func isSealed(_ bytes: [UInt8]) -> Bool { bytes.first == mark[0] }

    /// A value, encrypted: the mark, the key's name behind its length, nonce, ciphertext and tag.
    ///
    /// - Parameter place: Where the value stands. It can be decrypted there only.
    func seal(_ bytes: [UInt8], at place: String) throws(ConversationError) -> [UInt8] {
        let header = Self.mark + [UInt8(keys[0].id.utf8.count)] + Array(keys[0].id.utf8)
        do {
            let box = try AES.GCM.seal(bytes, using: keys[0].secret, authenticating: header + Array(place.utf8))
            return header + Array(box.nonce) + Array(box.ciphertext) + Array(box.tag)
        } catch {
            throw ConversationError(.internalError, "a value could not be encrypted: \(error)")
        }
    }

    /// A value, decrypted.
    ///
    /// - Throws: ``ConversationError`` of the code `internalError` where no key fits, or the value is not the one that was stored at `place`.
    static func open(_ bytes: [UInt8], at place: String, with ring: SessionKeyRing?) throws(ConversationError) -> [UInt8] {
        guard isSealed(bytes) else { return bytes }
        guard bytes.count > 3, bytes[1] == mark[1], bytes.count >= 3 + Int(bytes[2]) + 12 + 16 else {
            throw ConversationError(.internalError, "a stored value is encrypted in a form that is not known")
        }
        let headerLength = 3 + Int(bytes[2])
        let id = String(decoding: bytes[3..<headerLength], as: UTF8.self)
        guard let key = ring?.keys.first(where: { $0.id == id }) else {
            throw ConversationError(.internalError, "a stored value is encrypted with the key '\(id)', which is not among the session keys")
        }
        do {
            let box = try AES.GCM.SealedBox(combined: bytes[headerLength...])
            let context = Array(bytes[..<headerLength]) + Array(place.utf8)
            return Array(try AES.GCM.open(box, using: key.secret, authenticating: context))
        } catch {
            throw ConversationError(
                .internalError, "a stored value cannot be decrypted with the key '\(id)': the key or the value was changed")
        }
    }

    /// The names of the keys; never a key.
    public var description: String { "session keys " + keys.map(\.id).joined(separator: ", ") }

    /// Shows no key in dumps.
    public var customMirror: Mirror { Mirror(self, children: ["names": keys.map(\.id)]) }
}
