import Conversation
import Foundation
import Histogram
import Synchronization

/// One run at one rate.
struct Run {
    private let sender: any Sender

    init(_ sender: any Sender) { self.sender = sender }

    /// Sends each request when it is due, and waits for all answers.
    func execute(_ requests: [Plan.Request]) async -> Outcome {
        let shared = Shared()
        let sender = sender
        let cpu = cpuSeconds()
        let began = ContinuousClock.now
        await withTaskExecutorPreference(sender.executor) {
            await withDiscardingTaskGroup { group in
                for request in requests {
                    let due = began + .seconds(request.due)
                    if due > .now { try? await Task.sleep(until: due, tolerance: .zero, clock: .continuous) }
                    group.addTask {
                        let failure = await sender.send(request.text, request.priority)
                        let took = due.duration(to: .now)
                        shared.outcome.withLock { $0.add(request.priority, tokens: request.tokens, took: took, failure: failure) }
                    }
                }
            }
        }
        let seconds = requests.last?.due ?? 0
        return shared.outcome.withLock { outcome in
            outcome.seconds = max(seconds, 1e-9)
            outcome.clientCPU = cpuSeconds() - cpu
            return outcome
        }
    }
}

private final class Shared: Sendable {
    let outcome = Mutex(Outcome())
}

/// What became of the requests of a run.
struct Outcome: Sendable {
    private struct Class: Sendable {
        var sent = 0
        /// Microseconds from when it was due, of those that were answered.
        var latencies = Histogram<UInt64>(highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three)
        /// Of those that were answered.
        var tokens = 0
        var failures: [String: Int] = [:]
    }

    private var classes: [Priority: Class] = [:]
    /// From the first to the last scheduled time.
    var seconds = 0.0
    /// CPU seconds of this process.
    var clientCPU = 0.0

    /// How many requests were answered.
    var answered: Int { classes.values.reduce(0) { $0 + Int($1.latencies.totalCount) } }

    mutating func add(_ priority: Priority, tokens: Int, took: Duration, failure: String?) {
        classes[priority, default: Class()].sent += 1
        if let failure {
            classes[priority, default: Class()].failures[failure, default: 0] += 1
        } else {
            _ = classes[priority, default: Class()].latencies.record(UInt64(max(took / .microseconds(1), 0)))
            classes[priority, default: Class()].tokens += tokens
        }
    }

    func print(rate: Double) {
        let cpu = clientCPU / Double(max(classes.values.reduce(0) { $0 + $1.sent }, 1)) * 1e6
        for (priority, part) in classes.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            func milliseconds(_ percentile: Double) -> String {
                part.latencies.totalCount == 0 ? "–" : format(Double(part.latencies.valueAtPercentile(percentile)) / 1000, 1)
            }
            let failures = part.failures.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
            let cells = [
                format(rate, 0), "\(priority)", "\(part.sent)", "\(part.latencies.totalCount)",
                format(Double(part.latencies.totalCount) / seconds, 1), format(Double(part.tokens) / seconds, 0), milliseconds(50),
                milliseconds(90), milliseconds(99),
                milliseconds(100), failures.isEmpty ? "0" : failures, format(cpu, 0),
            ]
            Swift.print("| " + cells.joined(separator: " | ") + " |")
        }
    }
}

/// A number with so many digits after the point.
func format(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }
