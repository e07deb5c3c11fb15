import CProtos
import ProtobufC
import RPC

/// The .proto files of a descriptor set, by file name and by the symbols that they declare.
struct DescriptorIndex: Sendable {
    private struct File: Sendable {
        var bytes: [UInt8]
        var dependencies: [String]
    }

    private var files: [String: File] = [:]
    private var fileOfSymbol: [String: String] = [:]
    /// The services that the files declare, sorted.
    private(set) var services: [String] = []

    /// - Parameter descriptorSet: A serialised `google.protobuf.FileDescriptorSet`.
    init(descriptorSet: [UInt8]) throws(RPCError) {
        let index = withUnpacked(
            descriptorSet, unpack: google__protobuf__file_descriptor_set__unpack, free: google__protobuf__file_descriptor_set__free_unpacked
        ) { set in
            var index = DescriptorIndex()
            for position in 0..<set.n_file { index.add(set.file[position]!) }
            return index
        }
        guard var index else { throw RPCError(.internalError, "the descriptors are not a google.protobuf.FileDescriptorSet") }
        index.services.sort()
        self = index
    }

    private init() {}

    /// The file of that name and all that it imports, each once and serialised; nil where there is none.
    func files(named name: String) -> [[UInt8]]? {
        guard files[name] != nil else { return nil }
        var names = [name]
        var seen: Set = [name]
        var next = 0
        while next < names.count {
            for dependency in files[names[next]]?.dependencies ?? [] where seen.insert(dependency).inserted { names.append(dependency) }
            next += 1
        }
        return names.compactMap { files[$0]?.bytes }
    }

    /// The file that declares a symbol (a service, a method, a message, a field or an enum by its full name), and all that it imports.
    func files(declaring symbol: String) -> [[UInt8]]? { fileOfSymbol[symbol].flatMap(files(named:)) }

    private mutating func add(_ file: UnsafeMutablePointer<Google__Protobuf__FileDescriptorProto>) {
        let name = String(cString: file.pointee.name)
        let scope = file.pointee.package.map { String(cString: $0) + "." } ?? ""
        let size = google__protobuf__file_descriptor_proto__get_packed_size(file)
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = google__protobuf__file_descriptor_proto__pack(file, buffer.baseAddress)
        }
        files[name] = File(
            bytes: bytes, dependencies: (0..<file.pointee.n_dependency).map { String(cString: file.pointee.dependency[$0]!) })
        for position in 0..<file.pointee.n_message_type { add(file.pointee.message_type[position]!.pointee, scope, name) }
        for position in 0..<file.pointee.n_enum_type {
            fileOfSymbol[scope + String(cString: file.pointee.enum_type[position]!.pointee.name)] = name
        }
        for position in 0..<file.pointee.n_service {
            let service = file.pointee.service[position]!.pointee
            let fullName = scope + String(cString: service.name)
            services.append(fullName)
            fileOfSymbol[fullName] = name
            for method in 0..<service.n_method {
                fileOfSymbol[fullName + "." + String(cString: service.method[method]!.pointee.name)] = name
            }
        }
    }

    private mutating func add(_ message: Google__Protobuf__DescriptorProto, _ scope: String, _ file: String) {
        let fullName = scope + String(cString: message.name)
        fileOfSymbol[fullName] = file
        for position in 0..<message.n_field { fileOfSymbol[fullName + "." + String(cString: message.field[position]!.pointee.name)] = file }
        for position in 0..<message.n_enum_type {
            fileOfSymbol[fullName + "." + String(cString: message.enum_type[position]!.pointee.name)] = file
        }
        for position in 0..<message.n_nested_type { add(message.nested_type[position]!.pointee, fullName + ".", file) }
    }
}
