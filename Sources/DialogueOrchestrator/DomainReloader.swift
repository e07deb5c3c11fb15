import Dialogue
import Logging
import ServiceLifecycle
import Synchronization
import UnixSignals

/// Takes a changed domain into service: at once on SIGHUP, and else within two looks at its folder.
///
/// A folder with faults is told of in the log, and the version in service stays.
final class DomainReloader: Service {
    private let directory: String
    private let domains: DomainCatalog
    private let interval: Duration
    private let logger: Logger
    /// SIGHUP, trapped before anybody is told that the program serves: it would end it otherwise.
    private let hangUps: UnixSignalsSequence
    /// The version that was refused last, so that its faults are told of once.
    private let refused = Mutex("")

    /// A reloader that looks at `directory` every `interval`; zero: on SIGHUP only.
    init(directory: String, domains: DomainCatalog, interval: Duration, logger: Logger) async {
        self.directory = directory
        self.domains = domains
        self.interval = interval
        self.logger = logger
        hangUps = await UnixSignalsSequence(trapping: .sighup)
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.watch() }
                group.addTask {
                    for await _ in self.hangUps {
                        self.logger.info("SIGHUP: reading the domain anew", metadata: ["domain": "\(self.directory)"])
                        self.load()
                    }
                }
            }
        }
    }

    /// Loads the domain when its files have changed and are the same in two looks: whoever saves several files is not read half-way.
    private func watch() async {
        guard interval > .zero else { return }
        var seen = domains.current.version
        while (try? await Task.sleep(for: interval)) != nil {
            let found = Domain.version(directory: directory)
            if found == seen, found != domains.current.version, found != refused.withLock({ $0 }) { load() }
            seen = found
        }
    }

    private func load() {
        do throws(DomainError) {
            let domain = try Domain.load(directory: directory)
            guard domain.version != domains.current.version else { return logger.info("the domain is unchanged") }
            domains.add(domain)
            logger.info(
                "a new version of the domain is in service", metadata: ["domain": "\(domain.name)", "version": "\(domain.version)"])
        } catch {
            let version = Domain.version(directory: directory)
            refused.withLock { $0 = version }
            logger.error("the domain has faults; the version in service stays", metadata: ["faults": "\(error)"])
        }
    }
}
