/// Who waits for the answer: the class of a request. A higher class is batched first.
public enum Priority: Int, Sendable, Hashable, CaseIterable {
    /// A person is waiting. The highest class.
    case interactive
    /// A system is waiting.
    case standard
    /// Nobody is waiting: re-labelling, evaluation. The lowest class.
    case background
}
