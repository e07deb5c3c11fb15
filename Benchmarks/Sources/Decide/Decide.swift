import Conversation
import Dialogue
import Glibc

// CPU of one turn of the decision core: a young session beside one of thousands of turns, over the conversations of the shipped domain.

private struct Step {
    var query: Utterance
    var recognition: Recognition
}

private func cpuNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// What customers write in the conversations of the domain, with what is recognised in it; a person never takes over.
private func steps(_ path: String, _ domain: Domain) throws -> [Step] {
    var steps: [Step] = []
    for conversation in try RecordedConversation.load(path + "/conversations", domain: domain) {
        for step in conversation.steps {
            guard case .message(let message) = step.event, let recognition = message.recognition, message.text.unicodeScalars.count < 100,
                !["human_agent", "complaint"].contains(recognition.intents.first?.name)
            else { continue }
            steps.append(Step(query: try Utterance(message.text), recognition: recognition))
        }
    }
    return steps
}

/// Takes `count` turns, and gives the session after them.
private func talk(_ domain: Domain, _ session: Session, _ steps: [Step], from start: Int, count: Int) -> Session {
    var session = session
    for turn in start..<start + count {
        let step = steps[turn % steps.count]
        let decision = domain.decide(
            session, query: step.query, seq: session.lastSeq + 1, recognition: step.recognition,
            now: Timestamp(milliseconds: 1_795_000_000_000 + Int64(turn) * 1000))
        session = decision.session
        // A conversation that a person took over would only be cheap.
        session.handedOff = false
    }
    return session
}

@main
struct Decide {
    static func main() {
        do {
            try measure()
        } catch {
            print(error)
            exit(1)
        }
    }

    private static func measure() throws {
        let path = CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "Deploy/domains/ecommerce"
        let domain = try Domain.load(directory: path)
        let steps = try steps(path, domain)
        let uid = try UserID("benchmark")
        let fresh = domain.newSession(uid: uid, id: "benchmark", now: Timestamp(milliseconds: 1_795_000_000_000))
        let young = talk(domain, fresh, steps, from: 0, count: 10)
        let old = talk(domain, young, steps, from: 10, count: 9_990)
        print("\(steps.count) messages of \(path); turn \(young.turns) beside turn \(old.turns); thread CPU, µs a turn")

        // The same messages on both, in alternating rounds; of each the best, which is what least else disturbed.
        var best: [Double] = [.infinity, .infinity]
        var sums: [Double] = [0, 0]
        let rounds = 31
        for round in 0..<rounds {
            for (index, session) in [young, old].enumerated() {
                let began = cpuNanoseconds()
                let after = talk(domain, session, steps, from: round, count: steps.count)
                let took = Double(cpuNanoseconds() - began) / 1000 / Double(steps.count)
                best[index] = min(best[index], took)
                sums[index] += took
                guard after.turns == session.turns + UInt64(steps.count) else { return print("turns were lost") }
            }
        }
        func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
        print("turn 10:     best \(rounded(best[0])), mean \(rounded(sums[0] / Double(rounds)))")
        print("turn 10,000: best \(rounded(best[1])), mean \(rounded(sums[1] / Double(rounds)))")
        print("ratio of the best: \(rounded(best[1] / best[0]))")
    }
}
