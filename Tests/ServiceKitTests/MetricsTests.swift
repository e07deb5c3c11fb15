import Conversation
import ServiceKit
import Testing

@Suite struct MetricsTests {
    @Test func theTextIsPrometheus() {
        let registry = MetricsRegistry()
        let requests = registry.counters("shop_requests_total", "Requests.\nIn C:\\ \"all\".", labels: ["model", "class"])
        let depth = registry.gauges("shop_depth", "Depth.")
        let seconds = registry.histograms("shop_seconds", "Time.", labels: ["model"], buckets: [0.25, 1])
        registry.collect("shop_state", "State.", .gauge) {
            [MetricSample(["state", "ready"], value: .infinity), MetricSample(value: .nan)]
        }
        requests("a\"b\\c\nd", "x").increment()
        requests("改", "y").increment(by: 2)
        requests("改", "y").increment()
        depth().set(2.5)
        depth().add(-3)
        for value in [0.25, 0.5, 7] { seconds("m").observe(value) }
        seconds("m").observe(.milliseconds(250))
        #expect(
            registry.text() == #"""
                # HELP shop_requests_total Requests.\nIn C:\\ "all".
                # TYPE shop_requests_total counter
                shop_requests_total{model="a\"b\\c\nd",class="x"} 1
                shop_requests_total{model="改",class="y"} 3
                # HELP shop_depth Depth.
                # TYPE shop_depth gauge
                shop_depth -0.5
                # HELP shop_seconds Time.
                # TYPE shop_seconds histogram
                shop_seconds_bucket{model="m",le="0.25"} 2
                shop_seconds_bucket{model="m",le="1"} 3
                shop_seconds_bucket{model="m",le="+Inf"} 4
                shop_seconds_sum{model="m"} 8
                shop_seconds_count{model="m"} 4
                # HELP shop_state State.
                # TYPE shop_state gauge
                shop_state{state="ready"} +Inf
                shop_state NaN

                """#)
    }

    @Test func nothingIsLostBetweenThreads() async {
        let registry = MetricsRegistry()
        let counters = registry.counters("shop_requests_total", "Requests.", labels: ["model"])
        let seconds = registry.histograms("shop_seconds", "Time.", buckets: [0.5])
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for _ in 0..<5_000 {
                        counters("\(task % 2)").increment()
                        seconds().observe(task.isMultiple(of: 2) ? 0.25 : 0.75)
                    }
                }
            }
        }
        #expect(counters("0").value == 20_000 && counters("1").value == 20_000)
        #expect(seconds().count == 40_000)
        let text = registry.text()
        #expect(text.contains("shop_seconds_bucket{le=\"0.5\"} 20000\n") && text.contains("shop_seconds_sum 20000\n"))
    }

    @Test func theProcessIsMeasured() throws {
        let registry = MetricsRegistry()
        registry.addProcess()
        let values = Dictionary(
            uniqueKeysWithValues: registry.text().split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.contains("{") }.map { line in
                let parts = line.split(separator: " ")
                return (String(parts[0]), Double(parts[1]) ?? .nan)
            })
        func value(_ name: String) throws -> Double { try #require(values[name], "\(name)") }
        #expect(try value("process_cpu_seconds_total") > 0)
        #expect(try value("process_resident_memory_bytes") > 1_000_000)
        #expect(try value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"))
        #expect(try value("process_open_fds") >= 3 && value("process_open_fds") < value("process_max_fds"))
        // Within a day before now: the tests' own process.
        let started = try value("process_start_time_seconds")
        #expect((0..<86_400).contains(Double(Program.now().milliseconds) / 1000 - started))
    }

    @Test func recordingIsCheap() {
        let registry = MetricsRegistry()
        let counter = registry.counters("shop_requests_total", "Requests.")()
        let histogram = registry.histograms("shop_seconds", "Time.", buckets: .secondsOfWaiting)()
        let rounds = 100_000
        let clock = ContinuousClock()
        let best = (0..<5).map { _ in
            clock.measure {
                for round in 0..<rounds {
                    counter.increment()
                    histogram.observe(Double(round % 64) / 1000)
                }
            } / rounds
        }.min()
        // A debug build on a machine that others use; a release build takes a tenth of it.
        #expect(best ?? .zero < .microseconds(20))
        #expect(counter.value == 500_000 && histogram.count == 500_000)
    }
}
