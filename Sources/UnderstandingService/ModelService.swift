import Logging
public import ServiceLifecycle
import UnixSignals

/// The models as a service of the process: loads and warms them, keeps up with their folder, and keeps them until the servers above have drained.
///
/// The folder is looked at again at every interval, and at every SIGHUP.
public struct ModelService: Service {
    private let host: ModelHost
    private let pollInterval: Duration
    private let ready: @Sendable () async throws -> Void

    /// A service over a host.
    ///
    /// - Parameters:
    ///   - pollInterval: How often the folder is looked at; zero: only at SIGHUP.
    ///   - ready: Called once, when every model is warm.
    public init(host: ModelHost, pollInterval: Duration = .zero, ready: @escaping @Sendable () async throws -> Void) {
        self.host = host
        self.pollInterval = pollInterval
        self.ready = ready
    }

    /// Loads the models, and reloads them until the shutdown.
    public func run() async throws {
        // From here on SIGHUP does not end the process.
        let hangups = await UnixSignalsSequence(trapping: .sighup)
        do {
            try await cancelWhenGracefulShutdown { try await host.load() }
            try await ready()
            try await cancelWhenGracefulShutdown { try await keepUp(hangups) }
        } catch is CancellationError {
            // The shutdown.
        } catch {
            await host.drain()
            throw error
        }
        await host.drain()
    }

    /// Reloads at every interval and signal, until the task is cancelled.
    private func keepUp(_ hangups: UnixSignalsSequence) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for await _ in hangups {
                    host.logger.info("SIGHUP: the model repository is looked at")
                    await host.reload()
                }
            }
            if pollInterval > .zero {
                group.addTask {
                    while true {
                        try await Task.sleep(for: pollInterval)
                        await host.reload()
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
