public import Torch
public import Understanding

/// A TorchScript model as the forward pass of a recognition engine, on the instance's own thread.
public struct TorchForwardPass: ForwardPass {
    private let instance: ModelInstance

    /// A forward pass by a loaded model that gives intent logits and slot logits.
    public init(instance: ModelInstance) { self.instance = instance }

    /// Runs one forward pass.
    ///
    /// - Throws: `TorchError`.
    public func forward(_ batch: TokenBatch) async throws -> Logits {
        let outputs = try await instance.forward(
            inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        return Logits(intent: outputs[0].values, slots: outputs[1].values)
    }
}
