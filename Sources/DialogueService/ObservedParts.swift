import Conversation
import Dialogue
import RPCServices

// The parts that a turn taker asks, each with an observer before it. The turn taker itself knows nothing of being watched.

struct ObservedRecognizer: Recognizer {
    let base: any Recognizer
    let observer: TurnObserver

    func recognize(_ utterance: Utterance, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Recognition {
        let step = observer.begin(.recognition)
        let result = await step.within { await answer(to: utterance, deadline) }
        do throws(ConversationError) {
            let recognition = try result.get()
            step.end(nil, recognition.attributes)
            observer.metrics.note(recognition)
            TurnInspection.current?.note(recognition)
            return recognition
        } catch {
            step.end(error)
            observer.metrics.noteRecognitionError(error)
            throw error
        }
    }

    private func answer(to utterance: Utterance, _ deadline: ContinuousClock.Instant?) async -> Result<Recognition, ConversationError> {
        do throws(ConversationError) {
            return .success(try await base.recognize(utterance, deadline: deadline))
        } catch {
            return .failure(error)
        }
    }
}

struct ObservedStore: SessionStore {
    let base: any SessionStore
    let observer: TurnObserver

    func load(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> VersionedSession? {
        let step = observer.begin(.load)
        do throws(ConversationError) {
            let session = try await base.load(uid, deadline: deadline)
            step.end()
            return session
        } catch {
            throw failure(error, .load, step)
        }
    }

    func reply(_ uid: UserID, seq: UInt64, position: Int, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Reply? {
        let step = observer.begin(.replay)
        do throws(ConversationError) {
            let reply = try await base.reply(uid, seq: seq, position: position, deadline: deadline)
            step.end()
            return reply
        } catch {
            throw failure(error, .replay, step)
        }
    }

    func commit(_ commit: SessionCommit, expected: SessionVersion?, deadline: ContinuousClock.Instant?) async throws(ConversationError)
        -> CommitResult
    {
        let step = observer.begin(.commit)
        do throws(ConversationError) {
            let result = try await base.commit(commit, expected: expected, deadline: deadline)
            step.end()
            observer.metrics.note(result, handOff: commit.handOff)
            return result
        } catch {
            throw failure(error, .commit, step)
        }
    }

    func timeLeft(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Duration? {
        do throws(ConversationError) {
            return try await base.timeLeft(uid, deadline: deadline)
        } catch {
            throw failure(error, .timeLeft)
        }
    }

    func end(_ uid: UserID, deadline: ContinuousClock.Instant?) async throws(ConversationError) -> Bool {
        do throws(ConversationError) {
            return try await base.end(uid, deadline: deadline)
        } catch {
            throw failure(error, .end)
        }
    }

    private func failure(_ error: ConversationError, _ operation: StoreOperation, _ step: ObservedStep? = nil) -> ConversationError {
        step?.end(error)
        observer.metrics.note(error, of: operation)
        return error
    }
}

struct ObservedActions: Actions {
    let base: any Actions
    let observer: TurnObserver

    func perform(_ call: ActionCall, uid: UserID, now: Timestamp, deadline: ContinuousClock.Instant?) async -> ActionResult {
        let step = observer.begin(.action)
        let result = await step.within { await base.perform(call, uid: uid, now: now, deadline: deadline) }
        step.end(nil, [("kefu.action", .text(call.name)), ("kefu.action.result", .text(result.code))])
        return result
    }
}

struct ObservedChitchat: Chitchat {
    let base: any Chitchat
    let observer: TurnObserver

    func answer(_ query: String, recent: [String], deadline: ContinuousClock.Instant?) async -> String? {
        let step = observer.begin(.chitchat)
        let answer = await step.within { await base.answer(query, recent: recent, deadline: deadline) }
        step.end(nil, [("kefu.chitchat.answered", .flag(answer != nil))])
        return answer
    }
}

extension Recognition {
    /// What a span tells of it: nothing that the customer wrote.
    fileprivate var attributes: [(name: String, value: Span.Value)] {
        [
            ("kefu.intent", .text(intents.first?.name ?? "")), ("kefu.confidence", .number(Double(intents.first?.confidence ?? 0))),
            ("kefu.model", .text(model)), ("kefu.route", .text(route.label)), ("kefu.queue_us", .integer(timing.queue.microseconds)),
            ("kefu.compute_us", .integer(timing.compute.microseconds)), ("kefu.batch_size", .integer(Int64(timing.batchSize))),
            ("kefu.padded_length", .integer(Int64(timing.paddedLength))),
        ]
    }
}

extension Duration {
    var microseconds: Int64 { components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000 }
}
