public import Logging
import Redis
public import ServiceKit

extension TurnEventSink {
    /// Events as entries of a Redis stream, with one field `event`, by the connection of the session store. Its length is bounded, to about `length`.
    ///
    /// An entry that cannot be sent is lost, and one whose answer is lost may be there: nothing is sent twice.
    public static func stream(
        _ key: String, length: Int, store: RedisSessionStore, format: TurnEventFormat, counters: MetricFamily<Counter>, logger: Logger
    ) -> TurnEventSink {
        let client = store.client
        return TurnEventSink("redis", counters: counters, logger: logger) { records in
            await withTaskGroup { group in
                for record in records {
                    group.addTask { () async -> String? in
                        let entry: [RedisBytes] = [
                            "XADD", RedisBytes(key), "MAXLEN", "~", RedisBytes(length), "*", "event",
                            RedisBytes(format.line(record).dropLast()),
                        ]
                        do throws(RedisError) {
                            _ = try await client.send(entry)
                            return nil
                        } catch {
                            return "\(error)"
                        }
                    }
                }
                return await group.reduce(into: TurnEventWriting(written: 0)) { result, failure in
                    if let failure { result.failure = failure } else { result.written += 1 }
                }
            }
        }
    }
}
