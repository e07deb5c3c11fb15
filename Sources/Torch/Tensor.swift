/// Floating-point values with a shape, in row-major order.
public struct Tensor: Sendable, Hashable {
    /// The dimensions, outermost first.
    public let shape: [Int]
    /// The values; as many as the product of the dimensions.
    public let values: [Float]

    init(shape: [Int], values: [Float]) {
        self.shape = shape
        self.values = values
    }
}

/// Integers with a shape, in row-major order: what a model takes.
public struct IntegerTensor: Sendable, Hashable {
    /// The dimensions, outermost first; each at least 1.
    public let shape: [Int]
    /// The values; as many as the product of the dimensions.
    public let values: [Int64]

    /// A tensor by its parts.
    ///
    /// - Throws: ``TorchError`` `.badShape` where there is no dimension, more than 8, one below 1, or not as many values as they say.
    public init(shape: [Int], values: [Int64]) throws(TorchError) {
        guard (1...8).contains(shape.count) else {
            throw TorchError(.badShape, "a tensor of shape \(shape); expected 1 to 8 dimensions")
        }
        var count = 1
        for dimension in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
            guard dimension >= 1, !overflow else {
                throw TorchError(.badShape, "a tensor of shape \(shape); expected dimensions of at least 1")
            }
            count = product
        }
        guard values.count == count else {
            throw TorchError(.badShape, "a tensor of shape \(shape) with \(values.count) values; expected \(count)")
        }
        self.shape = shape
        self.values = values
    }
}

/// The size of a batch of token rows.
public struct BatchShape: Sendable, Hashable {
    /// How many rows there are; at least 1.
    public var rows: Int
    /// Tokens per row; at least 1.
    public var length: Int

    /// A size by rows and tokens per row.
    public init(rows: Int, length: Int) {
        self.rows = rows
        self.length = length
    }
}
