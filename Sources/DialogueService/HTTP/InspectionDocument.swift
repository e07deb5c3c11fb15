import Conversation

/// One turn as the inspector shows it.
struct InspectedTurnDocument: Encodable {
    var reply: ReplyDocument
    var inspection: InspectionDocument
}

/// What happened within a turn. Times are in microseconds, offsets from the start of the turn.
struct InspectionDocument: Encodable {
    struct Step: Encodable {
        var step: String
        var offset: Int64
        var duration: Int64
        var error: String?

        enum CodingKeys: String, CodingKey {
            case step, error
            case offset = "offset_us"
            case duration = "duration_us"
        }
    }

    struct Intent: Encodable {
        var name: String
        var confidence: Float
    }

    /// A slot with its place in the message, in Unicode scalars.
    struct Slot: Encodable {
        var name: String
        var value: String
        var normalized: String
        var start: Int
        var end: Int
        var confidence: Float
    }

    struct Recognition: Encodable {
        var intents: [Intent]
        var slots: [Slot]
        var model: String
        var route: String
        var queue: Int64
        var compute: Int64
        var batchSize: Int
        var paddedLength: Int

        enum CodingKeys: String, CodingKey {
            case intents, slots, model, route
            case queue = "queue_us"
            case compute = "compute_us"
            case batchSize = "batch_size"
            case paddedLength = "padded_length"
        }
    }

    var turn: Int64
    var steps: [Step]
    var recognition: Recognition?

    enum CodingKeys: String, CodingKey {
        case steps, recognition
        case turn = "turn_us"
    }

    init(_ inspection: TurnInspection, took duration: Duration) {
        turn = duration.microseconds
        steps = inspection.steps.map {
            Step(
                step: $0.step.rawValue, offset: $0.offset.microseconds, duration: $0.duration.microseconds,
                error: $0.error?.code.description)
        }
        recognition = inspection.recognition.map(Recognition.init)
    }
}

extension InspectionDocument.Recognition {
    init(_ recognition: Conversation.Recognition) {
        self.init(
            intents: recognition.intents.map { .init(name: $0.name, confidence: $0.confidence) },
            slots: recognition.slots.map {
                .init(
                    name: $0.value.name, value: $0.value.value, normalized: $0.value.normalized, start: $0.range.lowerBound,
                    end: $0.range.upperBound, confidence: $0.confidence)
            }, model: recognition.model, route: recognition.route.label, queue: recognition.timing.queue.microseconds,
            compute: recognition.timing.compute.microseconds, batchSize: recognition.timing.batchSize,
            paddedLength: recognition.timing.paddedLength)
    }
}
