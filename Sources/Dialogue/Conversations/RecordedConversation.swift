public import Conversation

/// A conversation as a test: what customers write, what the recogniser makes of it, and what is expected of each answer.
public struct RecordedConversation: Sendable, CustomStringConvertible {
    /// What the conversation shows.
    public var name: String
    /// The file that it is from.
    public var file: String
    /// Its line there, from 1.
    public var line: Int
    /// The running services, with their own model, are expected to pass it as well.
    public var isLive: Bool
    /// The time at its beginning.
    public var start: Timestamp
    /// A backend is connected, and answers with the results that are recorded.
    public var hasBackend: Bool
    /// What happens, in order.
    public var steps: [Step]

    /// The name.
    public var description: String { name }

    /// One thing that happens.
    public struct Step: Sendable {
        /// What it is.
        public enum Event: Sendable {
            /// A customer writes.
            case message(Message)
            /// Several customers write at the same time.
            case messages([Message])
            /// The user of this name sends the last message again, under the same number.
            case resend(String)
            /// Everybody connects anew, to another process over the same store.
            case reconnect
            /// Time passes.
            case advance(Duration)
        }

        /// Its line in the file, from 1.
        public var line: Int
        /// What happens.
        public var event: Event
        /// What is expected of the answer to a message that is sent again.
        public var expectation = Expectation()
    }

    /// What a customer writes.
    public struct Message: Sendable {
        /// Its line in the file, from 1.
        public var line: Int
        /// Who writes; conversations with one customer leave it out.
        public var user: String
        /// What is written.
        public var text: String
        /// What the recogniser makes of it; nil: it is out of reach.
        public var recognition: Recognition?
        /// What the backend answers in this turn, call by call.
        public var results: [ActionResult]
        /// What is expected of the answer.
        public var expectation: Expectation
    }

    /// What is expected of an answer; what is nil or empty is not looked at.
    public struct Expectation: Sendable {
        /// The likeliest intent.
        public var intent: String?
        /// The flow under way; empty: none.
        public var flow: String?
        /// What the bot waits for: a slot's name, `confirm`, `handoff`; empty: nothing.
        public var awaiting: String?
        /// Who wrote the reply, as ``ReplySource`` names it.
        public var source: String?
        /// The interrupted flows, innermost last.
        public var suspended: [String]?
        /// A person has taken over.
        public var handedOff: Bool?
        /// A part was out of reach.
        public var degraded: Bool?
        /// The message was answered before.
        public var replayed: Bool?
        /// Turns not understood in a row.
        public var misunderstood: Int?
        /// Turns taken since the session began.
        public var turns: Int?
        /// The actions that are called in the turn.
        public var actions: [String]?
        /// By name; `none`: not filled. What was written and the standard form both fit.
        public var slots: [(name: String, value: String)] = []
        /// Texts that the reply must have.
        public var says: [String] = []
        /// Texts that the reply must not have.
        public var silentOn: [String] = []
    }
}

extension Awaiting {
    /// As conversations write it; empty: nothing.
    var testName: String {
        switch self {
        case .nothing: ""
        case .slot(let name): name
        case .confirmation: Step.confirmation
        case .handoff: "handoff"
        }
    }
}
