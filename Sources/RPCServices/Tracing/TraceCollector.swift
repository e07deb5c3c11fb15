import CProtos
import ProtobufC
public import RPC

/// A collector of OpenTelemetry behind a channel: `opentelemetry.proto.collector.trace.v1.TraceService`, OTLP/gRPC.
public struct TraceCollector: Sendable {
    private static let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

    private let channel: Channel
    private let resource: [(name: String, value: Span.Value)]
    private let scope: (name: String, version: String)

    /// A collector.
    ///
    /// - Parameters:
    ///   - resource: What sends the spans: `service.name` and the like.
    ///   - scope: The name and version of what made them.
    public init(channel: Channel, resource: [(name: String, value: Span.Value)], scope: (name: String, version: String)) {
        self.channel = channel
        self.resource = resource
        self.scope = scope
    }

    /// Sends spans.
    ///
    /// - Returns: How many of them the collector refused.
    /// - Throws: The call's status where it is not OK.
    public func export(_ spans: [Span], timeout: Duration) async throws(RPCError) -> Int {
        let response = try await channel.unary(Self.method, request(spans), options: CallOptions(timeout: timeout)).message
        let rejected = withUnpacked(
            response, unpack: opentelemetry__proto__collector__trace__v1__export_trace_service_response__unpack,
            free: opentelemetry__proto__collector__trace__v1__export_trace_service_response__free_unpacked
        ) { $0.partial_success?.pointee.rejected_spans ?? 0 }
        guard let rejected else { throw RPCError(.internalError, "the collector's answer is no ExportTraceServiceResponse") }
        return Int(clamping: rejected)
    }

    private func request(_ spans: [Span]) -> [UInt8] {
        packed(
            opentelemetry__proto__collector__trace__v1__export_trace_service_request__init,
            size: opentelemetry__proto__collector__trace__v1__export_trace_service_request__get_packed_size,
            pack: opentelemetry__proto__collector__trace__v1__export_trace_service_request__pack
        ) { request, arena in
            request.n_resource_spans = 1
            request.resource_spans = arena.messages([spans]) { spans, arena in
                var group: Opentelemetry__Proto__Trace__V1__ResourceSpans = initial(opentelemetry__proto__trace__v1__resource_spans__init)
                var source: Opentelemetry__Proto__Resource__V1__Resource = initial(opentelemetry__proto__resource__v1__resource__init)
                source.n_attributes = resource.count
                source.attributes = arena.messages(resource, attribute)
                group.resource = arena.message(source)
                group.n_scope_spans = 1
                group.scope_spans = arena.messages([spans]) { spans, arena in scoped(spans, &arena) }
                return group
            }
        }
    }

    private func scoped(_ spans: [Span], _ arena: inout Arena) -> Opentelemetry__Proto__Trace__V1__ScopeSpans {
        var group: Opentelemetry__Proto__Trace__V1__ScopeSpans = initial(opentelemetry__proto__trace__v1__scope_spans__init)
        var maker: Opentelemetry__Proto__Common__V1__InstrumentationScope = initial(
            opentelemetry__proto__common__v1__instrumentation_scope__init)
        maker.name = arena.text(scope.name)
        maker.version = arena.text(scope.version)
        group.scope = arena.message(maker)
        group.n_spans = spans.count
        group.spans = arena.messages(spans, wire)
        return group
    }
}

private func wire(_ span: Span, _ arena: inout Arena) -> Opentelemetry__Proto__Trace__V1__Span {
    var message: Opentelemetry__Proto__Trace__V1__Span = initial(opentelemetry__proto__trace__v1__span__init)
    message.trace_id = arena.bytes(span.context.traceID.high.bytes + span.context.traceID.low.bytes)
    message.span_id = arena.bytes(span.context.spanID.bytes)
    message.trace_state = arena.text(span.context.state)
    if let parent = span.parent { message.parent_span_id = arena.bytes(parent.bytes) }
    message.flags = span.context.isSampled ? 1 : 0
    message.name = arena.text(span.name)
    message.kind =
        switch span.kind {
        case .internal: OPENTELEMETRY__PROTO__TRACE__V1__SPAN__SPAN_KIND__SPAN_KIND_INTERNAL
        case .server: OPENTELEMETRY__PROTO__TRACE__V1__SPAN__SPAN_KIND__SPAN_KIND_SERVER
        case .client: OPENTELEMETRY__PROTO__TRACE__V1__SPAN__SPAN_KIND__SPAN_KIND_CLIENT
        }
    message.start_time_unix_nano = span.start
    message.end_time_unix_nano = span.end
    message.n_attributes = span.attributes.count
    message.attributes = arena.messages(span.attributes, attribute)
    if let failure = span.failure {
        var status: Opentelemetry__Proto__Trace__V1__Status = initial(opentelemetry__proto__trace__v1__status__init)
        status.code = OPENTELEMETRY__PROTO__TRACE__V1__STATUS__STATUS_CODE__STATUS_CODE_ERROR
        status.message = arena.text(failure)
        message.status = arena.message(status)
    }
    return message
}

private func attribute(_ pair: (name: String, value: Span.Value), _ arena: inout Arena) -> Opentelemetry__Proto__Common__V1__KeyValue {
    var value: Opentelemetry__Proto__Common__V1__AnyValue = initial(opentelemetry__proto__common__v1__any_value__init)
    switch pair.value {
    case .text(let text):
        value.value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_STRING_VALUE
        value.string_value = arena.text(text)
    case .integer(let integer):
        value.value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_INT_VALUE
        value.int_value = integer
    case .number(let number):
        value.value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_DOUBLE_VALUE
        value.double_value = number
    case .flag(let flag):
        value.value_case = OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_BOOL_VALUE
        value.bool_value = flag ? 1 : 0
    }
    var message: Opentelemetry__Proto__Common__V1__KeyValue = initial(opentelemetry__proto__common__v1__key_value__init)
    message.key = arena.text(pair.name)
    message.value = arena.message(value)
    return message
}

extension UInt64 {
    /// Its 8 bytes, the most significant first.
    fileprivate var bytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> UInt64(56 - 8 * $0)) } }
}
