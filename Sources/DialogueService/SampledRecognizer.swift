public import Conversation
public import Dialogue
public import ServiceKit

/// Tells the gate how long recognition takes: it is what nine tenths of a turn's computing go to, and where load shows first.
///
/// An intent server that is out of reach says nothing of how much may be let in. One that refuses for want of room, or does not answer in time, does.
public struct SampledRecognizer: Recognizer {
    private let base: any Recognizer
    private let gate: AdmissionGate

    /// A recogniser that is watched for a gate.
    public init(_ base: any Recognizer, gate: AdmissionGate) {
        self.base = base
        self.gate = gate
    }

    /// Recognises an utterance.
    public func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        let began = ContinuousClock.now
        do throws(ConversationError) {
            let recognition = try await base.recognize(utterance, deadline: deadline)
            gate.sample(.done, began: began)
            return recognition
        } catch {
            if error.code == .resourceExhausted || error.code == .deadlineExceeded { gate.sample(.dropped, began: began) }
            throw error
        }
    }
}
