/// Decides which server a request goes to. Lives on the event loop's thread.
protocol Router: AnyObject {
    /// The servers that are in use.
    var nodes: [Node] { get }
    /// Whether requests wait here that no node has.
    var isDrained: Bool { get }
    /// Begins to connect.
    func start()
    /// Sends a request to the server it is for.
    func accept(_ request: Request)
    /// Refuses what was not sent, and connects no more.
    func stop()
}

/// The only server there is.
final class SingleRouter: Router, NodeOwner {
    private(set) var nodes: [Node] = []
    private var node: Node?
    let isDrained = true

    init(_ server: Server, _ configuration: RedisClient.Configuration, inbox: Inbox, loop: EventLoop) {
        let node = Node(server, .any, configuration, keepsWatch: false, inbox: inbox, loop: loop, owner: self)
        self.node = node
        nodes = [node]
    }

    func start() { node?.start() }
    func accept(_ request: Request) { node?.accept(request) }
    func stop() {}

    func needsServer(_ node: Node) {}
    func needsConfirmation(_ node: Node) {}
    func takesOver(_ request: Request, refusedWith error: RedisValue.ServerError, by node: Node) -> Bool { false }
    func hasFailed(_ node: Node, _ failure: RedisError) {}
    func wasSlow(_ node: Node) {}
}
