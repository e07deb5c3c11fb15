public import Conversation
public import Dialogue
public import Logging
public import RPC
public import ServiceKit
import Synchronization

/// Recognises with the model that a variant names.
///
/// Where the intent server does not have it, because its name was misspelt or its version is not served any more, the default answers: an experiment must
/// not cost a customer the answer. It is counted, and told of in the log once.
public struct VariantRecognizer: Recognizer {
    private let named: RemoteRecognizer
    private let standIn: RemoteRecognizer
    private let missing: Missing
    private let logger: Logger

    /// A recogniser of a variant.
    ///
    /// - Parameter counter: Counts the recognitions for which the default stood in.
    public init(channel: Channel, variant: String, model: ModelSelector, counter: Counter, logger: Logger) {
        named = RemoteRecognizer(channel: channel, model: model)
        standIn = RemoteRecognizer(channel: channel)
        missing = Missing(variant: variant, model: model, counter: counter)
        self.logger = logger
    }

    /// Recognises an utterance.
    public func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        do throws(ConversationError) {
            return try await named.recognize(utterance, deadline: deadline)
        } catch {
            guard error.code == .notFound else { throw error }
            missing.note(error, logger)
            return try await standIn.recognize(utterance, deadline: deadline)
        }
    }

    private final class Missing: Sendable {
        private let variant: String
        private let model: ModelSelector
        private let counter: Counter
        private let isKnown = Atomic<Bool>(false)

        init(variant: String, model: ModelSelector, counter: Counter) {
            self.variant = variant
            self.model = model
            self.counter = counter
        }

        func note(_ error: ConversationError, _ logger: Logger) {
            counter.increment()
            guard !isKnown.exchange(true, ordering: .relaxed) else { return }
            logger.error(
                "the model of a variant is not there; the intent server's default answers in its place",
                metadata: ["variant": "\(variant)", "model": "\(model)", "reason": "\(error.message)"])
        }
    }
}

/// Small talk that must pass the filter of another domain as well.
public struct FilteredChitchat: Chitchat {
    private let base: any Chitchat
    private let filter: @Sendable () -> SmallTalkFilter

    /// Small talk that passes a further filter.
    public init(_ base: any Chitchat, filter: @escaping @Sendable () -> SmallTalkFilter) {
        self.base = base
        self.filter = filter
    }

    /// What the model says; nil where it cannot answer, or says what the domain does not allow.
    public func answer(_ query: String, recent: [String], deadline: ContinuousClock.Instant?) async -> String? {
        guard let said = await base.answer(query, recent: recent, deadline: deadline) else { return nil }
        return filter().objection(to: said) == nil ? said : nil
    }
}
