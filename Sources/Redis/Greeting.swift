/// The commands that open a connection, before any caller's: who the client is, and which database it means.
struct Greeting {
    /// One of its commands.
    struct Step {
        let command: [RedisBytes]
        /// Why the reply means that the connection is of no use; nil: it goes on.
        let judge: (RedisValue) -> RedisError?
        /// Whether callers must be told: waiting does not help those that are here.
        let isFinal: Bool

        init(command: [RedisBytes], isFinal: Bool = true, judge: @escaping (RedisValue) -> RedisError?) {
            self.command = command
            self.isFinal = isFinal
            self.judge = judge
        }

        /// A step of which only an error is looked at.
        init(command: [RedisBytes], error judge: @escaping (RedisValue.ServerError) -> RedisError?) {
            self.init(command: command) { reply in
                if case .error(let error) = reply { judge(error) } else { nil }
            }
        }
    }

    let steps: [Step]

    /// - Parameter server: What errors name.
    init(_ configuration: RedisClient.Configuration, _ role: Node.Role, server: String) {
        var steps: [Step] = []
        if configuration.password != nil || configuration.username != nil {
            let user = configuration.username.map { [RedisBytes($0)] } ?? []
            steps.append(
                Step(
                    command: ["AUTH"] + user + [RedisBytes(configuration.password ?? "")],
                    error: { error in
                        Self.refuses(error)
                            ? RedisError(
                                .authenticationFailed, "\(server) refused user \(configuration.username ?? "default")",
                                cause: RedisError(error)) : nil
                    }))
        }
        if let name = configuration.clientName {
            // A name is a help for people: a server that refuses it can be worked with.
            steps.append(Step(command: ["CLIENT", "SETNAME", RedisBytes(name)], error: { _ in nil }))
        }
        if configuration.database != 0 {
            steps.append(
                Step(
                    command: ["SELECT", RedisBytes(configuration.database)],
                    error: { error in
                        RedisError(
                            .connectionFailed, "\(server) refused database \(configuration.database)", cause: RedisError(error))
                    }))
        }
        // Shows that the server serves this client at all (it may want a password, or have too many clients).
        steps.append(
            Step(
                command: ["PING"],
                error: { error in
                    guard Self.refuses(error) else { return nil }
                    if error.prefix == "NOAUTH" {
                        return RedisError(
                            .authenticationFailed, "\(server) wants a password, and none is configured",
                            cause: RedisError(error))
                    }
                    return RedisError(.connectionFailed, "\(server) refused the client", cause: RedisError(error))
                }))
        switch role {
        case .any: break
        case .master: steps.append(Self.mastership(of: server))
        case .replica: steps.append(Step(command: ["READONLY"], error: { _ in nil }))
        }
        self.steps = steps
    }

    /// What the sentinels call the master must call itself so.
    private static func mastership(of server: String) -> Step {
        Step(command: ["ROLE"], isFinal: false) { reply in
            if reply.array?.first?.string == "master" { return nil }
            let said = reply.array?.first?.string ?? "\(reply)"
            return RedisError(.connectionFailed, "the sentinels name \(server) as the master, and its own ROLE is \(said)")
        }
    }

    /// Whether an error means that the client is not served, rather than that the server cannot answer this very moment. What passes
    /// here comes back with each caller's own command.
    private static func refuses(_ error: RedisValue.ServerError) -> Bool {
        !["LOADING", "BUSY", "MASTERDOWN", "NOPERM"].contains(error.prefix)
    }
}
