import Conversation
import Foundation
import HeapModule
import Histogram
import RPC
import Synchronization
import Wire

/// What became of the messages of a run that count.
struct Tally: Sendable {
    /// Microseconds from when a message was due to its reply.
    var latencies = Histogram<UInt64>(highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: .three)
    /// How many messages got no reply, or a degraded one, by what went wrong.
    var failures: [String: Int] = [:]
    /// CPU seconds of each process while it counted.
    var cpu: [Double] = []
}

/// Users in conversation, all at once.
struct Crowd: Sendable {
    let channel: Channel
    let users: Int
    /// Seconds between an answer and the next message.
    let think: ClosedRange<Double>
    let timeout: Duration
    /// From the start on: users come in evenly over the first half of it.
    let warmUp: Duration
    let counted: Duration

    /// Runs the crowd on an executor; `cpu` tells the CPU seconds of the processes so far.
    func run(on executor: some TaskExecutor, cpu: () -> [Double]) async -> Tally {
        let start = ContinuousClock.now
        let window = start + warmUp..<start + warmUp + counted
        let shared = Shared()
        let crowd = self
        let users = Task(executorPreference: executor) { await crowd.pace(from: start, counting: window, into: shared) }
        try? await Task.sleep(until: window.lowerBound, clock: .continuous)
        let before = cpu()
        try? await Task.sleep(until: window.upperBound, clock: .continuous)
        let used = zip(cpu(), before).map { $0 - $1 }
        await users.value
        return shared.tally.withLock { tally in
            tally.cpu = used
            return tally
        }
    }

    private final class Shared: Sendable {
        let tally = Mutex(Tally())
        /// Who speaks next, and when.
        let schedule = Mutex(Heap<Customer>())
    }

    /// One customer, and the message that is to be sent next.
    private struct Customer: Comparable, Sendable {
        var due: ContinuousClock.Instant
        var uid = UUID().uuidString
        var texts = Crowd.conversation()
        var sent = 0

        /// The customer after an answer: who has said everything gives way to another.
        func next(at due: ContinuousClock.Instant) -> Customer {
            guard sent + 1 < texts.count else { return Customer(due: due) }
            var next = self
            next.due = due
            next.sent += 1
            return next
        }

        static func < (left: Customer, right: Customer) -> Bool { left.due < right.due }
        static func == (left: Customer, right: Customer) -> Bool { left.due == right.due && left.uid == right.uid }
    }

    /// How exactly messages are sent when they are due. One task wakes for all customers: a timer for each of thousands costs the machine, which the measured
    /// processes share, more than the messages do.
    private static let tick: Duration = .milliseconds(1)

    /// Sends each message when it is due, until the window closes; returns when every answer has come.
    private func pace(from start: ContinuousClock.Instant, counting window: Range<ContinuousClock.Instant>, into shared: Shared) async {
        shared.schedule.withLock { schedule in
            for index in 0..<users { schedule.insert(Customer(due: start + warmUp / 2 * (Double(index) / Double(users)))) }
        }
        await withDiscardingTaskGroup { group in
            var now = ContinuousClock.now
            while now < window.upperBound {
                let due = shared.schedule.withLock { schedule in
                    var due: [Customer] = []
                    while let first = schedule.min, first.due <= now { due.append(schedule.removeMin()) }
                    return due
                }
                for customer in due { group.addTask { await speak(customer, counting: window, into: shared) } }
                try? await Task.sleep(until: now + Self.tick, tolerance: .zero, clock: .continuous)
                now = .now
            }
        }
    }

    private func speak(_ customer: Customer, counting window: Range<ContinuousClock.Instant>, into shared: Shared) async {
        let failure = await send(customer.texts[customer.sent], uid: customer.uid, seq: UInt64(customer.sent + 1))
        let now = ContinuousClock.now
        if window.contains(customer.due) {
            shared.tally.withLock { tally in
                if let failure {
                    tally.failures[failure, default: 0] += 1
                } else {
                    _ = tally.latencies.record(UInt64(max(customer.due.duration(to: now) / .microseconds(1), 0)))
                }
            }
        }
        shared.schedule.withLock { $0.insert(customer.next(at: now + .seconds(Double.random(in: think)))) }
    }

    /// Returns nil where a part answered that was not standing in for another, else what went wrong.
    private func send(_ text: String, uid: String, seq: UInt64) async -> String? {
        do {
            let message = Message(uid: try UserID(uid), query: try Utterance(text), seq: seq)
            let response = try await channel.unary(
                "/kefu.dialogue.v1.Dialogue/Reply", DialogueCodec.replyRequest(message), options: CallOptions(timeout: timeout))
            guard case .reply(let reply) = try DialogueCodec.replyResponse(decoding: response.message) else { return "failure" }
            return reply.degradedParts.isEmpty ? nil : "degraded"
        } catch let error as RPCError {
            return "\(error.code)"
        } catch {
            return "\(error)"
        }
    }

    /// Ten messages: an order and an address of this customer alone, and what everybody says.
    private static func conversation() -> [String] {
        let order = "2024\(Int.random(in: 1000...9999))\(Int.random(in: 1000...9999))"
        let address = "浙江省杭州市西湖区文三路\(Int.random(in: 1...9999))号"
        return ["你好", "我要改地址", "订单号是\(order)", "退货运费谁出", address, "对的", "快递到哪了", "今天天气怎么样", "谢谢", "再见"]
    }
}
