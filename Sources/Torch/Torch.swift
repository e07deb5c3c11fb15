import CTorch
/// The version of libtorch that is loaded.
public func torchVersion() -> String { String(cString: ctorch_version()) }
