public import Conversation
import Crypto
public import Dialogue

// Who gets what. These two functions are the contract of Deploy/README.md, "Experiments": whoever reads events may compute them elsewhere.
extension Experiment {
    /// The bucket of a user: the first 8 bytes, big-endian, of SHA-256(salt ‖ 00 ‖ uid) are the draw.
    public func bucket(of uid: UserID) -> Int { Self.bucket(salt.utf8, uid.string.utf8) }

    /// The bucket of a turn, for a ``Shadow``: as ``bucket(of:)``, of SHA-256(salt ‖ 00 ‖ uid ‖ 00 ‖ seq), seq in decimal.
    public func bucket(of uid: UserID, seq: UInt64) -> Int { Self.bucket(salt.utf8, uid.string.utf8, String(seq).utf8) }

    private static func bucket(_ parts: String.UTF8View...) -> Int {
        let digest = SHA256.hash(data: Array(parts.joined(separator: [0])))
        return bucket(draw: digest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
    }
}

/// Names users in events without telling who they are: the first 16 bytes of HMAC-SHA-256 under a salt, in hexadecimal.
///
/// Whoever has the salt and a list of uids can tell which name is whose: the salt is to be kept as a secret.
struct UserPseudonym: Sendable {
    private let key: SymmetricKey

    /// Names under a salt.
    init(salt: String) { key = SymmetricKey(data: Array(salt.utf8)) }

    /// The name of a user: 32 hexadecimal digits.
    func name(of uid: UserID) -> String {
        let code = HMAC<SHA256>.authenticationCode(for: Array(uid.string.utf8), using: key)
        var text = ""
        for byte in code.prefix(16) {
            if byte < 16 { text += "0" }
            text += String(byte, radix: 16)
        }
        return text
    }
}
