internal import CTorch

/// Why libtorch did not do what was asked for.
public struct TorchError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of a failure. Open: more may be added.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name of the code.
        public let description: String

        /// There is no readable file at the path.
        public static let fileNotFound = Code(description: "fileNotFound")
        /// The file is not a TorchScript archive, or a damaged one.
        public static let notTorchScript = Code(description: "notTorchScript")
        /// The model does not take or return the tensors that the caller expects.
        public static let wrongSignature = Code(description: "wrongSignature")
        /// The inputs do not have the shape that was promised, or the model cannot take that shape.
        public static let badShape = Code(description: "badShape")
        /// A number that was asked for is out of its range, or comes too late.
        public static let invalidArgument = Code(description: "invalidArgument")
        /// Memory ran out, of the host or of the device.
        public static let outOfMemory = Code(description: "outOfMemory")
        /// The device, or the precision on this device, is not available.
        public static let deviceUnavailable = Code(description: "deviceUnavailable")
        /// The model was unloaded.
        public static let unloaded = Code(description: "unloaded")
        /// The model itself raised an error, such as a token id outside its vocabulary.
        public static let modelFailed = Code(description: "modelFailed")
        /// Anything else that libtorch or the system reports.
        public static let failed = Code(description: "failed")
    }

    /// The kind of the failure.
    public let code: Code
    /// What was wrong, and what was expected; one line.
    public let message: String
    /// All that libtorch said, where that is more than the message: a TorchScript traceback, for example.
    public let cause: String?

    /// A failure with its kind and its message.
    public init(_ code: Code, _ message: String, cause: String? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// The code and the message.
    public var description: String { "\(code): \(message)" }
}

extension TorchError {
    /// The error of a call that did not return `CTORCH_OK`. Frees the message.
    init(_ code: ctorch_code, taking message: UnsafeMutablePointer<CChar>?) {
        let text = message.map { String(cString: $0) } ?? "libtorch gave no message"
        ctorch_string_free(message)
        let lines = text.split(whereSeparator: \.isNewline)
        // A TorchScript traceback ends with the error itself, which in a GPU's error has advice after it; other texts begin with it.
        let isTraceback = text.contains("TorchScript interpreter")
        let error = isTraceback ? lines.last { !$0.hasPrefix(" ") && $0.contains("Error: ") } ?? lines.last : lines.first
        let line = String(error ?? "libtorch gave no message")
        self.init(Code(code), line, cause: lines.count > 1 ? text : nil)
    }

    /// Calls libtorch and throws what it reports.
    static func check(_ call: (inout UnsafeMutablePointer<CChar>?) -> ctorch_code) throws(TorchError) {
        var message: UnsafeMutablePointer<CChar>?
        let code = call(&message)
        guard code == CTORCH_OK else { throw TorchError(code, taking: message) }
    }
}

extension TorchError.Code {
    init(_ code: ctorch_code) {
        self =
            switch code {
            case CTORCH_INVALID_ARGUMENT: .invalidArgument
            case CTORCH_FILE_NOT_FOUND: .fileNotFound
            case CTORCH_NOT_TORCHSCRIPT: .notTorchScript
            case CTORCH_WRONG_SIGNATURE: .wrongSignature
            case CTORCH_OUT_OF_MEMORY: .outOfMemory
            case CTORCH_DEVICE_UNAVAILABLE: .deviceUnavailable
            case CTORCH_MODEL_FAILED: .modelFailed
            default: .failed
            }
    }
}
