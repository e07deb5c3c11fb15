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
func waitUntil(_ condition: () async -> Bool) async throws {
    while await !condition() { try await Task.sleep(for: .milliseconds(1)) }
}

/// Returns when all that was sent before has been handed to the connection of a server that does not answer.
func allHandedOver(_ client: RedisClient) async throws {
    while try await !failure(of: { try await client.send("PING", deadline: .now + .milliseconds(20)) }).mayHaveRun {}
}
