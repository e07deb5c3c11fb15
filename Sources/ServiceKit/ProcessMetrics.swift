import Glibc

extension MetricsRegistry {
    /// Adds the metrics of the process that Prometheus' own libraries have, and `kefu_build_info`.
    public func addProcess() {
        collect("process_cpu_seconds_total", "Processor time of the process, in user and kernel mode.", .counter) {
            var time = timespec()
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
            return [MetricSample(value: Double(time.tv_sec) + Double(time.tv_nsec) / 1e9)]
        }
        collect("process_resident_memory_bytes", "Memory of the process that is in RAM.", .gauge) {
            numbers("/proc/self/statm").dropFirst().first.map { [MetricSample(value: $0 * Double(sysconf(Int32(_SC_PAGESIZE))))] } ?? []
        }
        collect("process_virtual_memory_bytes", "Address space of the process.", .gauge) {
            numbers("/proc/self/statm").first.map { [MetricSample(value: $0 * Double(sysconf(Int32(_SC_PAGESIZE))))] } ?? []
        }
        collect("process_open_fds", "File descriptors that are open.", .gauge) {
            openFileDescriptors().map { [MetricSample(value: Double($0))] } ?? []
        }
        collect("process_max_fds", "File descriptors that may be open.", .gauge) {
            var limit = rlimit()
            guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return [] }
            return [MetricSample(value: Double(limit.rlim_cur))]
        }
        let start = startTime()
        collect("process_start_time_seconds", "When the process started, in seconds since 1970 (UTC).", .gauge) {
            start.map { [MetricSample(value: $0)] } ?? []
        }
        collect("kefu_build_info", "1, with the version of the program.", .gauge) {
            [MetricSample(["version", Program.version], value: 1)]
        }
    }
}

/// The text of a file of /proc; nil where it cannot be read.
private func contents(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
    return String(decoding: bytes, as: UTF8.self)
}

/// The numbers of a line of /proc.
private func numbers(_ path: String) -> [Double] { contents(path)?.split(separator: " ").compactMap { Double($0) } ?? [] }

private func openFileDescriptors() -> Int? {
    guard let directory = opendir("/proc/self/fd") else { return nil }
    defer { closedir(directory) }
    var count = 0
    while readdir(directory) != nil { count += 1 }
    // ".", "..", and the descriptor that reads the directory.
    return max(0, count - 3)
}

/// The 22nd field of /proc/self/stat counts clock ticks since the machine started; the name in the 2nd field may have spaces in it.
private func startTime() -> Double? {
    guard let stat = contents("/proc/self/stat"), let end = stat.lastIndex(of: ")"),
        let boot = contents("/proc/stat")?.split(separator: "\n").first(where: { $0.hasPrefix("btime ") })?.split(separator: " ").last
    else { return nil }
    let fields = stat[end...].split(separator: " ")
    guard fields.count > 20, let ticks = Double(fields[20]), let booted = Double(boot) else { return nil }
    return booted + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
}
