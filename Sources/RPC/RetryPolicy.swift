/// Which calls a channel repeats by itself, for ``Channel/Configuration/serviceConfig``.
///
/// Only calls that may be made twice without harm should be repeated. A call is not repeated any more once a part of its response has come.
public struct RetryPolicy: Sendable, Hashable {
    /// How often a call is tried at most, the first time included: 2 to 5.
    public var maximumAttempts: Int
    /// The pause before the second attempt is random, up to this.
    public var initialBackoff: Duration
    /// No pause is longer.
    public var maximumBackoff: Duration
    /// By which factor pauses grow.
    public var backoffMultiplier: Double
    /// What is repeated. A server of the gRPC core ends calls that arrive while it shuts down with CANCELLED, hence that one.
    public var codes: [RPCError.Code]
    /// The full names of the services whose calls are repeated; empty: all.
    public var services: [String]

    /// A policy by its parts.
    public init(
        maximumAttempts: Int = 3, initialBackoff: Duration = .milliseconds(20), maximumBackoff: Duration = .seconds(1),
        backoffMultiplier: Double = 2, codes: [RPCError.Code] = [.unavailable, .cancelled], services: [String] = []
    ) {
        self.maximumAttempts = maximumAttempts
        self.initialBackoff = initialBackoff
        self.maximumBackoff = maximumBackoff
        self.backoffMultiplier = backoffMultiplier
        self.codes = codes
        self.services = services
    }

    /// The policy as gRPC's service config in JSON.
    public var serviceConfig: String {
        let names = services.isEmpty ? "{}" : services.map { "{\"service\":\"\($0)\"}" }.joined(separator: ",")
        let codes = codes.map { "\"\($0)\"" }.joined(separator: ",")
        return """
            {"methodConfig":[{"name":[\(names)],"retryPolicy":{"maxAttempts":\(maximumAttempts),\
            "initialBackoff":"\(Self.seconds(initialBackoff))","maxBackoff":"\(Self.seconds(maximumBackoff))",\
            "backoffMultiplier":\(backoffMultiplier),"retryableStatusCodes":[\(codes)]}}]}
            """
    }

    /// A duration in protobuf's JSON form, such as `0.020s`.
    private static func seconds(_ duration: Duration) -> String {
        let milliseconds = max(1, duration.roundedUpMilliseconds)
        let rest = String(milliseconds % 1000)
        return "\(milliseconds / 1000).\(String(repeating: "0", count: 3 - rest.count))\(rest)s"
    }
}
