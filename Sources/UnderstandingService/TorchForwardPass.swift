import Batching
public import Torch
public import Understanding

/// A TorchScript model as the forward pass of a recognition engine, on the instance's own thread.
public struct TorchForwardPass: ForwardPass {
    private let instance: ModelInstance

    /// A forward pass by a loaded model that gives intent logits and slot logits.
    public init(instance: ModelInstance) { self.instance = instance }

    /// Runs one forward pass.
    ///
    /// - Throws: `BatchTooLarge` where memory does not suffice, so that a smaller batch is tried; else `TorchError`.
    public func forward(_ batch: TokenBatch) async throws -> Logits {
        let outputs: [Tensor]
        do throws(TorchError) {
            outputs = try await instance.forward(
                inputIDs: batch.inputIDs, attentionMask: batch.attentionMask, rows: batch.rows, length: batch.length)
        } catch  where error.code == .outOfMemory {
            throw BatchTooLarge(cause: error)
        }
        return Logits(intent: outputs[0].values, slots: outputs[1].values)
    }
}
