public import Conversation

/// Two models behind one name: a light one answers where it is confident, else a heavy one does.
///
/// What counts is the calibrated probability of the light model's first intent and, where the slots matter, the probability of its least sure word's label: a
/// light model may know what is wanted and not where the order number ends. Both steps share the request's deadline.
public struct Cascade: Sendable, Hashable {
    /// What is done where the light model was not confident, and the heavy one cannot answer.
    public enum Fallback: Sendable, Hashable {
        /// The request fails as the heavy model's did: an answer that is not trusted is not given.
        case fail
        /// The light model's answer is given, with ``/Conversation/Route/light``.
        case light
    }

    /// The name by which requests ask for it.
    public var name: String
    /// The model that is asked first.
    public var light: ModelSelector
    /// The model that is asked where the light one is not confident.
    public var heavy: ModelSelector
    /// The least probability of the first intent at which the light answer stands, 0 to 1.
    public var threshold: Float
    /// The least probability of each word's label at which the light answer stands, 0 to 1; 0: labels do not count.
    public var labels: Float
    /// What is done where the heavy model cannot answer.
    public var fallback: Fallback

    /// A cascade by its parts.
    public init(
        name: String, light: ModelSelector, heavy: ModelSelector, threshold: Float, labels: Float = 0, fallback: Fallback = .fail
    ) {
        self.name = name
        self.light = light
        self.heavy = heavy
        self.threshold = threshold
        self.labels = labels
        self.fallback = fallback
    }

    /// A cascade from `name=NAME,light=MODEL,heavy=MODEL,threshold=0.9`, with `,labels=0.7` where the labels count too and `,fallback=light` where the light
    /// answer is to stand in.
    ///
    /// - Throws: ``/Conversation/ConversationError`` with code `.invalidArgument`, which names the part at fault.
    public init(_ text: String) throws(ConversationError) {
        func refuse(_ what: String) -> ConversationError {
            ConversationError(
                .invalidArgument,
                "the cascade \"\(text)\" \(what); name=NAME,light=MODEL,heavy=MODEL,threshold=0.9 is expected, with labels=0.7 and fallback=light at will"
            )
        }
        var parts: [String: String] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, ["name", "light", "heavy", "threshold", "labels", "fallback"].contains(pair[0]) else {
                throw refuse("has the part \"\(part)\"")
            }
            guard parts.updateValue(pair[1], forKey: pair[0]) == nil else { throw refuse("names \(pair[0]) twice") }
        }
        func part(_ key: String) throws(ConversationError) -> String {
            guard let value = parts[key] else { throw refuse("has no \(key)") }
            return value
        }
        name = try part("name")
        guard ModelManifest.isModelName(name) else {
            throw refuse("has the name \"\(name)\" (1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.', not beginning with '.')")
        }
        light = try ModelSelector(part("light"))
        heavy = try ModelSelector(part("heavy"))
        guard light != heavy, light.name != name, heavy.name != name else { throw refuse("does not name two models") }
        func probability(_ key: String, _ written: String) throws(ConversationError) -> Float {
            guard let value = Float(written), (0...1).contains(value) else { throw refuse("has the \(key) \"\(written)\" (0 to 1)") }
            return value
        }
        threshold = try probability("threshold", part("threshold"))
        labels = try probability("labels", parts["labels"] ?? "0")
        switch parts["fallback"] {
        case nil, "fail": fallback = .fail
        case "light": fallback = .light
        case let other?: throw refuse("has the fallback \"\(other)\" (fail or light)")
        }
    }

    /// Asks the light model, and the heavy one where need be.
    ///
    /// A light model that is absent or broken is passed over. One that is busy is not: sending its load to the heavy model as well would take both down.
    /// - Parameters:
    ///   - ask: Asks one of the two models; the request's deadline holds for both steps.
    /// - Returns: The answer of one of them. Its route is `.light` or `.heavy`, or `.cache` where that model had it already; the time that the light step
    ///   took counts as the heavy answer's time in the queue.
    /// - Throws: ``/Conversation/ConversationError`` of the step that failed.
    public func recognize(_ ask: (ModelSelector) async throws(ConversationError) -> Recognition) async throws(ConversationError)
        -> Recognition
    {
        var first: Recognition?
        do throws(ConversationError) {
            first = try await ask(light)
        } catch {
            guard [.unavailable, .notFound, .internalError].contains(error.code) else { throw error }
        }
        if let first, isSure(first) { return Self.routed(first, .light) }
        do throws(ConversationError) {
            var second = Self.routed(try await ask(heavy), .heavy)
            if let first { second.timing.queue += first.timing.queue + first.timing.compute }
            return second
        } catch {
            guard let first, fallback == .light, error.code != .cancelled else { throw error }
            return Self.routed(first, .light)
        }
    }

    private func isSure(_ recognition: Recognition) -> Bool {
        guard let intent = recognition.intents.first, intent.confidence >= threshold else { return false }
        return labels == 0 || recognition.labelConfidence.map { $0 >= labels } ?? false
    }

    private static func routed(_ recognition: Recognition, _ route: Route) -> Recognition {
        var recognition = recognition
        if recognition.route != .cache { recognition.route = route }
        return recognition
    }
}
