import Foundation

/// CPU seconds of processes, by the names of their threads.
struct CPU {
    private var seconds: [String: Double] = [:]

    init(of pids: [Int32]) {
        let tick = Double(sysconf(Int32(_SC_CLK_TCK)))
        for pid in pids {
            for task in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? [] {
                let path = "/proc/\(pid)/task/\(task)/stat"
                guard let stat = try? String(contentsOfFile: path, encoding: .utf8), let open = stat.firstIndex(of: "("),
                    let close = stat.lastIndex(of: ")")
                else { continue }
                let fields = stat[stat.index(after: close)...].split(separator: " ")
                guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { continue }
                seconds["\(stat[stat.index(after: open)..<close])", default: 0] += (user + system) / tick
            }
        }
    }

    /// One line: CPU microseconds an answered request, by the names of threads.
    func print(since before: CPU, requests: Int) {
        if seconds.isEmpty { return }
        let used = seconds.map { ($0.key, ($0.value - before.seconds[$0.key, default: 0]) / Double(max(requests, 1)) * 1e6) }
        let parts = used.filter { $0.1 >= 0.5 }.sorted { $0.1 > $1.1 }.map { "\($0.0) \(format($0.1, 0))" }
        Swift.print("  server CPU µs a request by thread: \(parts.joined(separator: ", "))")
    }
}

/// CPU seconds of this process so far.
func cpuSeconds() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}
