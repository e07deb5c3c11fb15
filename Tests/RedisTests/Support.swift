import Redis
import Testing

/// The error that an operation throws.
func failure(of operation: () async throws -> RedisValue, sourceLocation: SourceLocation = #_sourceLocation) async throws -> RedisError {
    do {
        let value = try await operation()
        Issue.record("expected an error, got \(value)", sourceLocation: sourceLocation)
    } catch let error as RedisError {
        return error
    }
    throw CancellationError()
}

/// Waits until a condition holds that no event tells of.
func waitUntil(_ condition: () -> Bool) async throws {
    while !condition() { try await Task.sleep(for: .milliseconds(1)) }
}
