import Dialogue
import Logging
import ServiceLifecycle
import Synchronization
import UnixSignals

/// A folder of a domain, and the catalogue that takes its versions.
struct DomainFolder: Sendable {
    let directory: String
    let domains: DomainCatalog
}

/// Takes a changed domain into service: at once on SIGHUP, and else within two looks at its folder.
///
/// A folder with faults is told of in the log, and the version in service stays.
final class DomainReloader: Service {
    private let folders: [DomainFolder]
    private let interval: Duration
    private let logger: Logger
    /// SIGHUP, trapped before anybody is told that the program serves: it would end it otherwise.
    private let hangUps: UnixSignalsSequence
    /// The version of each folder that was refused last, so that its faults are told of once.
    private let refused = Mutex<[String: String]>([:])

    /// A reloader that looks at each folder every `interval`; zero: on SIGHUP only.
    init(_ folders: [DomainFolder], interval: Duration, logger: Logger) async {
        self.folders = folders
        self.interval = interval
        self.logger = logger
        hangUps = await UnixSignalsSequence(trapping: .sighup)
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                for folder in self.folders { group.addTask { await self.watch(folder) } }
                group.addTask {
                    for await _ in self.hangUps {
                        for folder in self.folders {
                            self.logger.info("SIGHUP: reading the domain anew", metadata: ["domain": "\(folder.directory)"])
                            self.load(folder)
                        }
                    }
                }
            }
        }
    }

    /// Loads the domain when its files have changed and are the same in two looks: whoever saves several files is not read half-way.
    private func watch(_ folder: DomainFolder) async {
        guard interval > .zero else { return }
        var seen = folder.domains.current.version
        while (try? await Task.sleep(for: interval)) != nil {
            let found = Domain.version(directory: folder.directory)
            if found == seen, found != folder.domains.current.version, found != refused.withLock({ $0[folder.directory] }) { load(folder) }
            seen = found
        }
    }

    private func load(_ folder: DomainFolder) {
        do throws(DomainError) {
            let domain = try Domain.load(directory: folder.directory)
            guard domain.version != folder.domains.current.version else { return logger.info("the domain is unchanged") }
            folder.domains.add(domain)
            logger.info(
                "a new version of the domain is in service", metadata: ["domain": "\(domain.name)", "version": "\(domain.version)"])
        } catch {
            let version = Domain.version(directory: folder.directory)
            refused.withLock { $0[folder.directory] = version }
            logger.error("the domain has faults; the version in service stays", metadata: ["faults": "\(error)"])
        }
    }
}
