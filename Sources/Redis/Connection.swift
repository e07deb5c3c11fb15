/// One connection on an event loop. Lives on the loop's thread.
protocol Connection: AnyObject {
    /// Takes a command. It is written by the next ``flush()``.
    func send(_ command: [UInt8])
    /// Writes what was taken; what the socket does not take now follows when it can.
    func flush()
    /// Ends the connection. Nothing is reported any more.
    ///
    /// The owner calls it before it lets go of a connection that has not ended by itself.
    func close()
}

/// What a connection tells its owner. It is not called from within `send`.
struct ConnectionEvents {
    /// Commands can be exchanged.
    var connected: () -> Void
    /// The reply to the oldest command without one.
    var replied: (RedisValue) -> Void
    /// Something has come from the server; called once for the replies that are read together, and before them.
    ///
    /// - Returns: Whether it is to be read.
    var reading: () -> Bool
    /// The connection is over: commands without a reply get none. Called once, and not after ``Connection/close()``.
    var ended: (_ reason: String) -> Void
}

/// Where a socket connects to.
enum SocketAddress {
    /// A numeric address.
    case tcp(host: String, port: UInt16)
    case unix(path: String)
}
