public import Conversation

/// Users divided among variants of the service, to see which one serves them better.
///
/// Whose turn a variant takes is a function of the salt and the uid alone, so it holds over restarts, on all replicas, and for whoever computes it elsewhere.
public struct Experiment: Sendable, Hashable {
    /// The parts into which users are divided: a share is so many of them, and a user is in one, from 0 on.
    public static let buckets = 1_000_000
    /// How many variants there may be: each is a value of a metric's label.
    public static let variantLimit = 16

    /// The experiment's name.
    public let name: String
    /// Divides users anew: other salts divide them independently.
    public let salt: String
    /// In the order of the file.
    public let variants: [Variant]
    /// The variant with which the others are compared: its place in ``variants``.
    public let control: Int
    /// Where the buckets of each variant end, exclusive; those of the first begin at 0. The control's come last where it takes the remainder.
    private let ranges: [Interval]

    /// One way to serve users.
    public struct Variant: Sendable, Hashable {
        /// Its name.
        public var name: String
        /// How many of the ``Experiment/buckets`` it has.
        public var share: Int
        /// The model that recognises, which may be a cascade; nil: the intent server's default.
        public var model: ModelSelector?
        /// The folder of its domain; nil: the orchestrator's own.
        public var domain: String?
        /// Whether the model of small talk answers; nil: where there is one.
        public var chitchat: Bool?
        /// What is recognised besides, and only logged.
        public var shadow: Shadow?

        /// A variant by its parts.
        public init(
            name: String, share: Int, model: ModelSelector? = nil, domain: String? = nil, chitchat: Bool? = nil, shadow: Shadow? = nil
        ) {
            self.name = name
            self.share = share
            self.model = model
            self.domain = domain
            self.chitchat = chitchat
            self.shadow = shadow
        }
    }

    /// A model that recognises what another has answered already.
    public struct Shadow: Sendable, Hashable {
        /// The model.
        public var model: ModelSelector
        /// Of how many turns, in parts of ``Experiment/buckets``.
        public var share: Int

        /// A shadow by its parts.
        public init(model: ModelSelector, share: Int) {
            self.model = model
            self.share = share
        }
    }

    /// An experiment by its parts.
    ///
    /// - Parameters:
    ///   - variants: At least one; their shares add up to ``buckets``.
    ///   - control: The place of the control among them.
    ///   - takesRemainder: The control's buckets come after all others', so that the share of the variant before them grows at its cost alone.
    public init(name: String, salt: String, variants: [Variant], control: Int, takesRemainder: Bool) {
        precondition(variants.indices.contains(control) && variants.map(\.share).reduce(0, +) == Self.buckets, "shares are of all users")
        self.name = name
        self.salt = salt
        self.variants = variants
        self.control = control
        var order = Array(variants.indices)
        if takesRemainder { order.append(order.remove(at: control)) }
        var end = 0
        ranges = order.map { index in
            end += variants[index].share
            return Interval(end: end, variant: index)
        }
    }

    /// The bucket of a number that is drawn evenly from all of 64 bits: ⌊draw × 10⁶ / 2⁶⁴⌋.
    public static func bucket(draw: UInt64) -> Int { Int(draw.multipliedFullWidth(by: UInt64(buckets)).high) }

    /// The variant of a bucket, by its place in ``variants``: each has a range of buckets.
    public func variant(ofBucket bucket: Int) -> Int { ranges.first { bucket < $0.end }?.variant ?? control }

    private struct Interval: Sendable, Hashable {
        var end: Int
        var variant: Int
    }
}
