public import CProtos

/// Hands the message in `bytes` to `body`, and frees protobuf-c's copy of it when `body` ends.
///
/// - Returns: What `body` returns; nil where `bytes` are not such a message.
@inlinable public func withUnpacked<M, R, E: Error>(
    _ bytes: [UInt8],
    unpack: (UnsafeMutablePointer<ProtobufCAllocator>?, Int, UnsafePointer<UInt8>?) -> UnsafeMutablePointer<M>?,
    free: (UnsafeMutablePointer<M>?, UnsafeMutablePointer<ProtobufCAllocator>?) -> Void,
    _ body: (M) throws(E) -> R
) throws(E) -> R? {
    let message = bytes.withUnsafeBufferPointer { buffer in
        // protobuf-c wants a pointer for an empty message too.
        withUnsafePointer(to: UInt8(0)) { unpack(nil, buffer.count, buffer.baseAddress ?? $0) }
    }
    guard let message else { return nil }
    defer { free(message, nil) }
    return try body(message.pointee)
}
