import Conversation
public import Dialogue
import Foundation
import Wire

/// A turn that was answered, as it waits to be written: nothing is worked out on the turn's own path.
struct TurnRecord: Sendable {
    var turn: TakenTurn
    /// What the customer wrote.
    var query: String
    var variant: Experiment.Variant?
    var at: Timestamp
    var duration: Duration
    var shadow: TurnEvent.Shadow?
}

/// One line of the log of turns. Deploy/README.md, "Experiments", says what each field holds.
struct TurnEvent: Encodable {
    struct Shadow: Encodable, Sendable {
        var model: String
        var intent: String?
        var confidence: Float?
        var route: String?
        var duration: Int64?
        var error: String?

        enum CodingKeys: String, CodingKey {
            case model, intent, confidence, route, error
            case duration = "duration_us"
        }
    }

    var id: String
    var at: Int64
    var user: String
    var session: String
    var seq: UInt64
    var experiment: String
    var variant: String
    var model: String
    var intent: String
    var confidence: Float
    var route: String
    var flow: String
    var awaiting: String
    var source: String
    var replayed: Bool
    var degradedParts: [String]
    var handOff: String
    var handedOff: Bool
    var repair: Bool
    var flowsBegun: [String]
    var flowsCompleted: [String]
    var domainVersion: String
    var duration: Int64
    var shadow: Shadow?
    var text: String?

    enum CodingKeys: String, CodingKey {
        case id, user, session, seq, experiment, variant, model, intent, confidence, route, flow, awaiting, source, replayed, repair,
            shadow, text
        case at = "at_ms"
        case degradedParts = "degraded_parts"
        case handOff = "hand_off"
        case handedOff = "handed_off"
        case flowsBegun = "flows_begun"
        case flowsCompleted = "flows_completed"
        case domainVersion = "domain_version"
        case duration = "duration_us"
    }
}

/// How events of turns are written: as JSON, users by a pseudonym.
public struct TurnEventFormat: Sendable {
    private let experiment: String
    private let pseudonym: UserPseudonym
    private let domain: (@Sendable (String) -> Domain)?

    /// A format.
    ///
    /// - Parameters:
    ///   - experiment: The name of the experiment that runs; empty: none.
    ///   - salt: The secret under which users are named.
    ///   - domain: Gives the domain that decided a turn, by its version, where what customers wrote is to be written, sensitive slots masked; nil: it is
    ///     not to be written.
    public init(experiment: String, salt: String, domain: (@Sendable (String) -> Domain)? = nil) {
        self.experiment = experiment
        pseudonym = UserPseudonym(salt: salt)
        self.domain = domain
    }

    /// A line with its end.
    func line(_ record: TurnRecord) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Texts, whole numbers and finite fractions: there is nothing that JSON cannot hold.
        guard var line = try? encoder.encode(event(record)) else { preconditionFailure("an event has no form in JSON") }
        line.append(UInt8(ascii: "\n"))
        return Array(line)
    }

    func event(_ record: TurnRecord) -> TurnEvent {
        let (turn, reply) = (record.turn, record.turn.reply)
        return TurnEvent(
            id: "\(turn.sessionID):\(reply.seq)", at: record.at.milliseconds, user: pseudonym.name(of: reply.uid), session: turn.sessionID,
            seq: reply.seq, experiment: record.variant == nil ? "" : experiment, variant: record.variant?.name ?? "",
            model: reply.recognition?.model ?? "", intent: reply.recognition?.intent.name ?? "",
            confidence: reply.recognition.map { $0.intent.confidence.isFinite ? $0.intent.confidence : 0 } ?? 0,
            route: turn.recognition?.route.label ?? "",
            flow: reply.session.flow ?? "", awaiting: reply.session.awaiting.wireName, source: reply.source.label,
            replayed: reply.replayed, degradedParts: reply.degradedParts, handOff: turn.handOff?.eventName ?? "",
            handedOff: reply.session.handedOff, repair: reply.source == .fallback && !reply.degradedParts.contains("understanding"),
            flowsBegun: turn.begunFlows, flowsCompleted: turn.completedFlows, domainVersion: turn.domainVersion,
            duration: record.duration.microseconds, shadow: record.shadow, text: maskedText(record))
    }

    /// What the customer wrote, sensitive slots masked; nil where it is not to be written, or where nothing is known of what is in it.
    private func maskedText(_ record: TurnRecord) -> String? {
        guard let domain, let recognition = record.turn.recognition else { return nil }
        return domain(record.turn.domainVersion).masked(
            record.query, recognized: recognition.slots, known: record.turn.reply.session.slots)
    }
}

extension HandOffReason {
    /// Why in one word, and by the name of what: `rule:complaint`, `accepted`, `action:refund.request`.
    fileprivate var eventName: String {
        switch self {
        case .rule(let name): "rule:\(name)"
        case .accepted: "accepted"
        case .failedAction(let name): "action:\(name)"
        }
    }
}
