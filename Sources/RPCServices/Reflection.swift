import CProtos
import ProtobufC
public import RPC

/// The standard server reflection `grpc.reflection.v1` and, by the same code, `v1alpha`: a client such as grpcurl needs no .proto file.
public struct Reflection: Sendable {
    private let index: DescriptorIndex
    private let listed: [String]

    /// Reflection of the services that a server offers, by the descriptors of ``publicDescriptors()``.
    ///
    /// - Parameter services: The full names that `list_services` answers with; the two reflection services are added.
    public init(services: [String]) throws(RPCError) {
        index = try DescriptorIndex(descriptorSet: Self.publicDescriptors())
        listed = Set(services + Self.names).sorted()
        for service in listed where !index.services.contains(service) {
            throw RPCError(.internalError, "no descriptor of service \(service): Protos/generate.sh makes them")
        }
    }

    private static let names = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

    /// The services, to be given to a server.
    public var services: [Service] {
        Self.names.map { name in
            Service(
                name,
                [
                    .streaming("ServerReflectionInfo") { requests, responses, _ in
                        for try await request in requests { try await responses.write(answer(request)) }
                    }
                ])
        }
    }

    /// The serialised FileDescriptorSet of every public service of this package.
    static func publicDescriptors() -> [UInt8] {
        [UInt8](UnsafeBufferPointer(start: cprotos_descriptor_set(), count: Int(cprotos_descriptor_set_size())))
    }

    /// The answer to one `ServerReflectionRequest`, both serialised.
    func answer(_ request: [UInt8]) throws(RPCError) -> [UInt8] {
        let response = withUnpacked(
            request, unpack: grpc__reflection__v1__server_reflection_request__unpack,
            free: grpc__reflection__v1__server_reflection_request__free_unpacked, answer)
        guard let response else {
            throw RPCError(.invalidArgument, "the request is not a grpc.reflection.v1.ServerReflectionRequest")
        }
        return response
    }

    private func answer(_ request: Grpc__Reflection__V1__ServerReflectionRequest) -> [UInt8] {
        packed(
            grpc__reflection__v1__server_reflection_response__init,
            size: grpc__reflection__v1__server_reflection_response__get_packed_size,
            pack: grpc__reflection__v1__server_reflection_response__pack
        ) { response, arena in
            response.valid_host = request.host
            response.original_request = arena.message(request)
            switch request.message_request_case {
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
                listServices(&response, &arena)
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
                let name = string(request.file_by_filename)
                files(index.files(named: name), or: "file \"\(name)\" is not known here", &response, &arena)
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
                let symbol = string(request.file_containing_symbol)
                files(index.files(declaring: symbol), or: "symbol \"\(symbol)\" is not known here", &response, &arena)
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
                error(.notFound, "proto3 services have no extensions", &response, &arena)
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
                noExtensions(of: request.all_extension_numbers_of_type, &response, &arena)
            default:
                error(
                    .invalidArgument, "no message_request is set; list_services, file_by_filename or another is expected", &response, &arena
                )
            }
        }
    }

    private func listServices(_ response: inout Grpc__Reflection__V1__ServerReflectionResponse, _ arena: inout Arena) {
        var list: Grpc__Reflection__V1__ListServiceResponse = initial(grpc__reflection__v1__list_service_response__init)
        list.n_service = listed.count
        list.service = arena.messages(listed) { name, arena in
            var service: Grpc__Reflection__V1__ServiceResponse = initial(grpc__reflection__v1__service_response__init)
            service.name = arena.text(name)
            return service
        }
        response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE
        response.list_services_response = arena.message(list)
    }

    private func files(
        _ files: [[UInt8]]?, or message: String, _ response: inout Grpc__Reflection__V1__ServerReflectionResponse, _ arena: inout Arena
    ) {
        guard let files else { return error(.notFound, message, &response, &arena) }
        var descriptors: Grpc__Reflection__V1__FileDescriptorResponse = initial(grpc__reflection__v1__file_descriptor_response__init)
        descriptors.n_file_descriptor_proto = files.count
        descriptors.file_descriptor_proto = arena.values(files.map { arena.bytes($0) })
        response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE
        response.file_descriptor_response = arena.message(descriptors)
    }

    private func noExtensions(
        of type: ProtobufCBinaryData, _ response: inout Grpc__Reflection__V1__ServerReflectionResponse, _ arena: inout Arena
    ) {
        guard index.files(declaring: string(type)) != nil else {
            return error(.notFound, "type \"\(string(type))\" is not known here", &response, &arena)
        }
        var numbers: Grpc__Reflection__V1__ExtensionNumberResponse = initial(grpc__reflection__v1__extension_number_response__init)
        numbers.base_type_name = type
        response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE
        response.all_extension_numbers_response = arena.message(numbers)
    }

    private func error(
        _ code: RPCError.Code, _ message: String, _ response: inout Grpc__Reflection__V1__ServerReflectionResponse, _ arena: inout Arena
    ) {
        var error: Grpc__Reflection__V1__ErrorResponse = initial(grpc__reflection__v1__error_response__init)
        error.error_code = Int32(code.rawValue)
        error.error_message = arena.text(message)
        response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE
        response.error_response = arena.message(error)
    }
}

private func string(_ data: ProtobufCBinaryData) -> String {
    String(decoding: UnsafeBufferPointer(start: data.data, count: data.len), as: UTF8.self)
}
