public import CProtos

/// Memory for one protobuf-c message under construction. All of it is freed when the arena ends.
public struct Arena: ~Copyable {
    @usableFromInline var blocks: [UnsafeMutableRawBufferPointer] = []
    @usableFromInline var used = 0

    /// An arena without memory.
    @inlinable public init() {}

    @inlinable deinit {
        for block in blocks { block.deallocate() }
    }

    /// Uninitialised room for `count` values.
    @inlinable public mutating func allocate<T>(_ type: T.Type, count: Int) -> UnsafeMutablePointer<T> {
        let size = MemoryLayout<T>.stride * count
        let alignment = MemoryLayout<T>.alignment
        var offset = (used + alignment - 1) / alignment * alignment
        if blocks.isEmpty || offset + size > blocks[blocks.count - 1].count {
            blocks.append(.allocate(byteCount: max(size, 4096), alignment: 16))
            offset = 0
        }
        used = offset + size
        return (blocks[blocks.count - 1].baseAddress! + offset).bindMemory(to: T.self, capacity: count)
    }

    /// A copy of `string` in UTF-8.
    @inlinable public mutating func text(_ string: String) -> ProtobufCBinaryData {
        var string = string
        return string.withUTF8 { utf8 in
            guard let source = utf8.baseAddress else { return ProtobufCBinaryData(len: 0, data: nil) }
            let copy = allocate(UInt8.self, count: utf8.count)
            copy.initialize(from: source, count: utf8.count)
            return ProtobufCBinaryData(len: utf8.count, data: copy)
        }
    }

    /// A copy of `bytes`.
    @inlinable public mutating func bytes(_ bytes: [UInt8]) -> ProtobufCBinaryData {
        ProtobufCBinaryData(len: bytes.count, data: values(bytes))
    }

    /// Copies of `strings`, for a repeated field; nil where there are none.
    @inlinable public mutating func texts(_ strings: [String]) -> UnsafeMutablePointer<ProtobufCBinaryData>? {
        guard !strings.isEmpty else { return nil }
        let array = allocate(ProtobufCBinaryData.self, count: strings.count)
        for (index, string) in strings.enumerated() { (array + index).initialize(to: text(string)) }
        return array
    }

    /// Copies of `values`, for a repeated field; nil where there are none.
    @inlinable public mutating func values<T: BitwiseCopyable>(_ values: [T]) -> UnsafeMutablePointer<T>? {
        guard !values.isEmpty else { return nil }
        let array = allocate(T.self, count: values.count)
        for (index, value) in values.enumerated() { (array + index).initialize(to: value) }
        return array
    }

    /// A message for a field of message type.
    @inlinable public mutating func message<T>(_ message: T) -> UnsafeMutablePointer<T> {
        let place = allocate(T.self, count: 1)
        place.initialize(to: message)
        return place
    }

    /// Messages for a repeated field of message type; nil where there are none.
    @inlinable public mutating func messages<T, S>(_ values: [S], _ convert: (S, inout Arena) -> T) -> UnsafeMutablePointer<
        UnsafeMutablePointer<T>?
    >? {
        guard !values.isEmpty else { return nil }
        let array = allocate(UnsafeMutablePointer<T>?.self, count: values.count)
        for (index, value) in values.enumerated() { (array + index).initialize(to: message(convert(value, &self))) }
        return array
    }
}

/// The serialised form of the message that `build` fills.
@inlinable public func packed<M>(
    _ initialize: (UnsafeMutablePointer<M>) -> Void, size: (UnsafePointer<M>) -> Int,
    pack: (UnsafePointer<M>, UnsafeMutablePointer<UInt8>) -> Int, _ build: (inout M, inout Arena) -> Void
) -> [UInt8] {
    var arena = Arena()
    let message = arena.allocate(M.self, count: 1)
    initialize(message)
    build(&message.pointee, &arena)
    return [UInt8](unsafeUninitializedCapacity: size(message)) { buffer, count in
        count = buffer.baseAddress.map { pack(message, $0) } ?? 0
    }
}

/// A message in its initial state.
@inlinable public func initial<M>(_ initialize: (UnsafeMutablePointer<M>) -> Void) -> M {
    withUnsafeTemporaryAllocation(of: M.self, capacity: 1) { place in
        initialize(place.baseAddress!)
        return place[0]
    }
}
