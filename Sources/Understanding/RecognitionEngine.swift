public import Batching
public import Conversation
internal import Tokenization

/// Recognises intents and slots with one model: encodes, batches, runs the forward pass, decodes.
///
/// A text of more tokens than the model takes is cut at its end: what is beyond has no part in the intent and fills no slot.
public final class RecognitionEngine: Sendable {
    /// How an engine batches.
    public struct Configuration: Sendable, Hashable {
        /// The most utterances in a batch.
        public var batchSize: Int
        /// The most utterances of a class that wait for a worker; more are refused.
        public var waiting: Int
        /// The most estimated compute time of a class that waits for a worker; more is refused.
        public var work: Duration
        /// After each such time of waiting an utterance is treated as one of the next class up.
        public var agingBound: Duration
        /// The greatest share of what is computed that may be padding, 0 to 1.
        public var paddingShare: Double
        /// What share of the best throughput a batch must reach before it takes no more utterances, 0 to 1; 1: up to ``batchSize``.
        public var efficiency: Double
        /// The lengths at which batches are computed, rising, up to the model's greatest or beyond; nil: as many as keep rounding within
        /// ``paddingShare`` and 0.15.
        public var lengthBuckets: [Int]?

        /// The bytes that answers may take which are kept for texts of the same tokens; 0: none are kept.
        public var cacheBytes: Int

        /// The defaults of the queue.
        public init(
            batchSize: Int = 32, waiting: Int = 1024, work: Duration = .seconds(1), agingBound: Duration = .seconds(5),
            paddingShare: Double = 0.15, efficiency: Double = 0.8, lengthBuckets: [Int]? = nil, cacheBytes: Int = 0
        ) {
            self.batchSize = batchSize
            self.waiting = waiting
            self.work = work
            self.agingBound = agingBound
            self.paddingShare = paddingShare
            self.efficiency = efficiency
            self.lengthBuckets = lengthBuckets
            self.cacheBytes = cacheBytes
        }

        /// What the queue is told, for a model that takes so many tokens.
        func limits(maximumLength: Int) -> BatchQueue.Limits {
            let bound = BatchQueue.Limits.Bound(waiting: waiting, work: work)
            var buckets = lengthBuckets ?? BatchQueue.Limits.lengthBuckets(upTo: maximumLength, padding: min(paddingShare, 0.15))
            if let last = buckets.last, last < maximumLength { buckets.append(maximumLength) }
            return BatchQueue.Limits(
                batchSize: batchSize, interactive: bound, standard: bound, background: bound, agingBound: agingBound,
                paddingShare: paddingShare, efficiency: efficiency, lengthBuckets: buckets)
        }
    }

    /// A row of the logits of its batch.
    private struct Row: Sendable {
        var logits: Logits
        var index: Int
        var length: Int
    }

    /// The model.
    public let bundle: ModelBundle
    private let workers: [any ForwardPass]
    private let tokenizer: Tokenizer
    private let decoder: Decoder
    /// The lengths at which batches are computed, rising; the last is the model's greatest or beyond. To be warmed up.
    public let lengthBuckets: [Int]
    private let batcher: Batcher<ContinuousClock, Encoding, Row>
    private let cache: AnswerCache<[Int64], Answer>?

    /// An engine over a model.
    ///
    /// - Parameters:
    ///   - workers: Instances of the model; each runs one batch at a time. At least one.
    ///   - observe: Told what happens to batches; it must be quick.
    public init(
        bundle: ModelBundle, workers: [any ForwardPass], configuration: Configuration = Configuration(),
        observe: (@Sendable (BatchEvent) -> Void)? = nil
    ) {
        self.bundle = bundle
        self.workers = workers
        tokenizer = Tokenizer(vocabulary: bundle.vocabulary, options: bundle.manifest.tokenization)
        decoder = Decoder(intents: bundle.manifest.intents, labels: bundle.manifest.slotLabels, temperature: bundle.manifest.temperature)
        let limits = configuration.limits(maximumLength: bundle.manifest.maximumLength)
        lengthBuckets = limits.lengthBuckets
        batcher = Batcher(workers: workers.count, limits: limits, clock: ContinuousClock(), observe: observe) { worker, encodings, length in
            let batch = TokenBatch(encodings, length: length)
            let logits = try await workers[worker].forward(batch)
            try bundle.check(logits, of: batch)
            return encodings.indices.map { Row(logits: logits, index: $0, length: length) }
        }
        cache =
            configuration.cacheBytes == 0
            ? nil : AnswerCache(bytes: configuration.cacheBytes) { ids, answer in answer.bytes + ids.count * MemoryLayout<Int64>.stride }
    }

    /// Runs every shape on every worker, all workers side by side as they will be under load, and checks what the model gives.
    /// The times tell the queue what to expect.
    ///
    /// - Returns: What each shape takes, in the order of `shapes`.
    /// - Throws: ``BundleError`` where the outputs do not fit the manifest; what the forward pass throws.
    @discardableResult
    public func warmUp(_ shapes: [(rows: Int, length: Int)]) async throws -> [ShapeTime] {
        let times = try await WarmUp.run(shapes, on: workers, of: bundle)
        for time in times { batcher.record(rows: time.rows, length: time.length, duration: time.median) }
        return times
    }

    /// How many utterances wait for a worker.
    public var waiting: Int { batcher.waiting }

    /// What waits and runs now.
    public var statistics: BatchStatistics { batcher.statistics }

    /// How many callers wait for an answer that will be kept.
    var keptWaiting: Int { cache?.waiting ?? 0 }

    /// Recognises an utterance.
    ///
    /// - Parameters:
    ///   - topK: How many intents to give at most; below 1 counts as 1.
    ///   - priority: Who waits for the answer.
    ///   - deadline: When an answer is of no use any more. An utterance that still waits for a worker then is never computed.
    /// - Throws: ``ConversationError``: `.resourceExhausted` where too many wait, `.deadlineExceeded`, `.cancelled` where the caller's task is cancelled,
    ///   `.unavailable` once drained, `.internalError` where the model fails or gives what is not a number.
    public func recognize(
        _ utterance: Utterance, topK: Int = 1, priority: Conversation.Priority = .interactive, deadline: ContinuousClock.Instant? = nil
    ) async throws(ConversationError) -> Recognition {
        let encoding = tokenizer.encode(utterance.text, maximumLength: bundle.manifest.maximumLength)
        var answer: Answer
        var route = Route.model
        if let cache {
            // All intents, so that what is kept serves every top_k.
            let (value, wasKept) = try await cache.answer(
                for: encoding.ids, urgency: .init(priority: priority, deadline: deadline)
            ) { () async throws(ConversationError) in
                try await self.answer(encoding, topK: .max, priority: priority, deadline: deadline)
            }
            answer = value
            if wasKept {
                route = .cache
                answer.timing = Timing()
            }
        } else {
            answer = try await self.answer(encoding, topK: topK, priority: priority, deadline: deadline)
        }
        return Recognition(
            intents: Array(answer.intents.prefix(max(1, topK))),
            slots: decoder.slots(answer.spans, encoding: encoding, text: utterance.text),
            labelConfidence: answer.labelConfidence, model: bundle.id, route: route, timing: answer.timing)
    }

    /// What a model makes of token ids: texts of the same tokens differ only in where their slots are.
    private struct Answer: Sendable {
        var intents: [Intent]
        var spans: [Decoder.Span]
        var labelConfidence: Float
        var timing: Timing

        /// About what it takes in memory, the entries of a cache's tables included; the names of intents are the manifest's.
        var bytes: Int { 400 + intents.count * MemoryLayout<Intent>.stride + spans.count * MemoryLayout<Decoder.Span>.stride }
    }

    /// Computes in a batch.
    private func answer(
        _ encoding: Encoding, topK: Int, priority: Conversation.Priority, deadline: ContinuousClock.Instant?
    ) async throws(ConversationError) -> Answer {
        let batched: Batched<Row>
        do {
            batched = try await batcher.submit(
                encoding, length: encoding.ids.count, priority: Batching.Priority(priority), deadline: deadline)
        } catch {
            throw explain(error)
        }
        let row = batched.output
        let intentCount = decoder.intents.count
        let slotCount = row.length * decoder.labels.names.count
        let intentLogits = row.logits.intent[row.index * intentCount..<(row.index + 1) * intentCount]
        let slotLogits = row.logits.slots[row.index * slotCount..<(row.index + 1) * slotCount].prefix(
            encoding.ids.count * decoder.labels.names.count)
        guard intentLogits.allSatisfy(\.isFinite), slotLogits.allSatisfy(\.isFinite) else {
            throw ConversationError(.internalError, "the model \(bundle.id) gave a value that is not a finite number")
        }
        let (spans, labelConfidence) = decoder.spans(slotLogits, encoding: encoding)
        return Answer(
            intents: decoder.intents(intentLogits, count: topK), spans: spans, labelConfidence: labelConfidence,
            timing: Timing(queue: batched.queue, compute: batched.compute, batchSize: batched.batchSize, paddedLength: batched.length))
    }

    /// Takes nothing new, and returns when all that was asked is answered.
    public func drain() async { await batcher.drain() }

    /// Takes nothing new, and answers what waits with `.unavailable`. Batches under way are computed to their end.
    public func stop() { batcher.stop() }

    private func explain(_ error: BatchingError) -> ConversationError {
        switch error.code {
        case .full:
            ConversationError(
                .resourceExhausted, "the model \(bundle.id) has too much to do: \(error.message)", retryAfter: error.retryAfter)
        case .unreachable where error.retryAfter != nil:
            ConversationError(
                .resourceExhausted, "the model \(bundle.id) has too much to do: \(error.message)", retryAfter: error.retryAfter)
        case .unreachable: ConversationError(.deadlineExceeded, "the model \(bundle.id) cannot answer before the deadline")
        case .tooLarge: ConversationError(.resourceExhausted, "the model \(bundle.id) has no memory: \(error.message)")
        case .expired: ConversationError(.deadlineExceeded, "the deadline passed before the model \(bundle.id) could be asked")
        case .cancelled: ConversationError(.cancelled, "the caller no longer waits")
        case .stopped: ConversationError(.unavailable, "the model \(bundle.id) is being taken out of service")
        default: error.cause as? ConversationError ?? ConversationError(.internalError, "the model \(bundle.id) failed: \(error.message)")
        }
    }
}

extension Batching.Priority {
    /// The queue's class for who waits.
    public init(_ priority: Conversation.Priority) {
        switch priority {
        case .interactive: self = .interactive
        case .standard: self = .standard
        case .background: self = .background
        }
    }
}

extension TokenBatch {
    /// Rows of one length, padded with zeros on the right.
    init(_ encodings: [Encoding], length: Int) {
        var inputIDs = [Int64](repeating: 0, count: encodings.count * length)
        var attentionMask = inputIDs
        for (row, encoding) in encodings.enumerated() {
            for (column, id) in encoding.ids.enumerated() {
                inputIDs[row * length + column] = id
                attentionMask[row * length + column] = 1
            }
        }
        self.init(rows: encodings.count, length: length, inputIDs: inputIDs, attentionMask: attentionMask)
    }
}
