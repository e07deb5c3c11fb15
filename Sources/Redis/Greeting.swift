/// The commands that open a connection, before any caller's: who the client is, and which database it means.
struct Greeting {
    /// One of its commands.
    struct Step {
        let command: [RedisBytes]
        let judge: (RedisValue.ServerError) -> RedisError?
    }

    let steps: [Step]

    init(_ configuration: RedisClient.Configuration) {
        var steps: [Step] = []
        if configuration.password != nil || configuration.username != nil {
            let user = configuration.username.map { [RedisBytes($0)] } ?? []
            steps.append(
                Step(command: ["AUTH"] + user + [RedisBytes(configuration.password ?? "")]) { error in
                    Self.refuses(error)
                        ? RedisError(
                            .authenticationFailed, "\(configuration.endpoint) refused user \(configuration.username ?? "default")",
                            cause: RedisError(error)) : nil
                })
        }
        if let name = configuration.clientName {
            // A name is a help for people: a server that refuses it can be worked with.
            steps.append(Step(command: ["CLIENT", "SETNAME", RedisBytes(name)]) { _ in nil })
        }
        if configuration.database != 0 {
            steps.append(
                Step(command: ["SELECT", RedisBytes(configuration.database)]) { error in
                    RedisError(
                        .connectionFailed, "\(configuration.endpoint) refused database \(configuration.database)", cause: RedisError(error))
                })
        }
        // Shows that the server serves this client at all (it may want a password, or have too many clients).
        steps.append(
            Step(command: ["PING"]) { error in
                guard Self.refuses(error) else { return nil }
                if error.prefix == "NOAUTH" {
                    return RedisError(
                        .authenticationFailed, "\(configuration.endpoint) wants a password, and none is configured",
                        cause: RedisError(error))
                }
                return RedisError(.connectionFailed, "\(configuration.endpoint) refused the client", cause: RedisError(error))
            })
        self.steps = steps
    }

    /// Whether an error means that the client is not served, rather than that the server cannot answer this very moment. What passes
    /// here comes back with each caller's own command.
    private static func refuses(_ error: RedisValue.ServerError) -> Bool {
        !["LOADING", "BUSY", "MASTERDOWN", "NOPERM"].contains(error.prefix)
    }
}
