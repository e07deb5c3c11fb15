import Conversation
import Dialogue
import Logging

/// Writes a line a turn at the level `debug`, and one at `error` for each that failed by our own fault. What the customer wrote is never in it; of a
/// sensitive slot's value there are a few characters only.
struct TurnLog: Sendable {
    let domains: DomainCatalog
    let logger: Logger

    func note(_ turn: TakenTurn, after duration: Duration) {
        logger.debug("turn", metadata: metadata(turn.reply, domains.domain(version: turn.domainVersion), duration))
    }

    func note(_ error: ConversationError, of message: Message?, after duration: Duration) {
        logger.log(
            level: error.code == .internalError ? .error : .debug, "turn failed",
            metadata: [
                "uid": "\(message?.uid.string ?? "")", "seq": "\(message?.seq ?? 0)", "code": "\(error.code)", "reason": "\(error.message)",
                "us": "\(duration.microseconds)",
            ])
    }

    private func metadata(_ reply: Reply, _ domain: Domain, _ duration: Duration) -> Logger.Metadata {
        let slots = (reply.recognition?.slots ?? []).map { ($0.name, Logger.MetadataValue.string(domain.masked($0))) }
        return [
            "uid": "\(reply.uid.string)", "seq": "\(reply.seq)", "intent": "\(reply.recognition?.intent.name ?? "")",
            "confidence": "\(reply.recognition?.intent.confidence ?? 0)", "variant": "\(reply.recognition?.variant ?? "")",
            "slots": .dictionary(Dictionary(slots) { $1 }),
            "flow": "\(reply.session.flow ?? "")", "awaiting": "\(reply.session.awaiting)", "source": "\(reply.source.label)",
            "replayed": "\(reply.replayed)", "degraded_parts": "\(reply.degradedParts.joined(separator: ","))",
            "us": "\(duration.microseconds)",
        ]
    }
}
