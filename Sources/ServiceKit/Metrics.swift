import Synchronization

/// The metrics of a process, and their text for Prometheus.
///
/// There is no Prometheus library for Swift among those this project may use, and swift-metrics, the façade of others, knows neither help texts nor buckets nor
/// values that are read when they are asked for. A registry is a value of the composition, not a global of the process, so tests have their own.
public final class MetricsRegistry: Sendable {
    private struct Family {
        var name: String
        var help: String
        var kind: MetricKind
        var samples: @Sendable () -> [MetricSample]
    }

    private let families = Mutex<[Family]>([])

    /// A registry without metrics.
    public init() {}

    /// Counters, one for each combination of label values. The name ends in `_total`.
    public func counters(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Counter> {
        add(name, help, .counter, MetricFamily(labels, make: { Counter() }, samples: { [MetricSample(value: Double($0.value))] }))
    }

    /// Gauges, one for each combination of label values.
    public func gauges(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Gauge> {
        add(name, help, .gauge, MetricFamily(labels, make: { Gauge() }, samples: { [MetricSample(value: $0.value)] }))
    }

    /// Histograms, one for each combination of label values.
    ///
    /// - Parameter buckets: The rising upper bounds of the buckets, each inclusive; one for what is greater is added.
    public func histograms(_ name: String, _ help: String, labels: [String] = [], buckets: [Double]) -> MetricFamily<Histogram> {
        precondition(!labels.contains("le"), "a histogram's label le is its own")
        return add(name, help, .histogram, MetricFamily(labels, make: { Histogram(buckets: buckets) }, samples: { $0.samples }))
    }

    /// A metric whose values are read when the text is asked for: something that is counted elsewhere.
    ///
    /// - Parameter samples: Its values now, each with its labels; called on any thread.
    public func collect(_ name: String, _ help: String, _ kind: MetricKind, samples: @escaping @Sendable () -> [MetricSample]) {
        precondition(kind != .histogram, "a histogram is not one value")
        add(Family(name: name, help: help, kind: kind, samples: samples))
    }

    /// The metrics in Prometheus' text format 0.0.4, in the order in which they were made.
    public func text() -> String {
        var text = ""
        for family in families.withLock({ $0 }) {
            text += "# HELP \(family.name) \(family.help.escaped(quotes: false))\n# TYPE \(family.name) \(family.kind.rawValue)\n"
            for sample in family.samples() { sample.write(family.name, to: &text) }
        }
        return text
    }

    private func add<Series>(_ name: String, _ help: String, _ kind: MetricKind, _ family: MetricFamily<Series>) -> MetricFamily<Series> {
        add(Family(name: name, help: help, kind: kind, samples: { family.samples }))
        return family
    }

    private func add(_ family: Family) {
        precondition(family.name.isMetricName, "\(family.name) is not the name of a metric")
        families.withLock { families in
            precondition(!families.contains { $0.name == family.name }, "there are two metrics \(family.name)")
            families.append(family)
        }
    }
}

/// What a metric's value does.
public enum MetricKind: String, Sendable, Hashable {
    /// It only rises, from 0 at the start of the process.
    case counter
    /// It rises and falls.
    case gauge
    /// It counts observations by their size.
    case histogram
}

/// One value of a metric.
public struct MetricSample: Sendable, Hashable {
    /// What follows the metric's name: `_bucket`, `_sum` or `_count` of a histogram.
    var suffix = ""
    /// Names and values of the labels.
    public var labels: [String]
    /// The value now.
    public var value: Double

    /// A value with its labels.
    ///
    /// - Parameter labels: Names and values in turn: `["model", "ecommerce", "version", "1"]`.
    public init(_ labels: [String] = [], value: Double) {
        precondition(labels.count.isMultiple(of: 2), "a label is a name and a value")
        self.labels = labels
        self.value = value
    }

    fileprivate func write(_ name: String, to text: inout String) {
        text += name
        text += suffix
        for index in stride(from: 0, to: labels.count, by: 2) {
            text += "\(index == 0 ? "{" : ",")\(labels[index])=\"\(labels[index + 1].escaped(quotes: true))\""
        }
        text += "\(labels.isEmpty ? "" : "}") \(value.metricText)\n"
    }
}

/// The series of one metric, one for each combination of label values.
public final class MetricFamily<Series: Sendable>: Sendable {
    private let labels: [String]
    private let make: @Sendable () -> Series
    private let read: @Sendable (Series) -> [MetricSample]
    private let series = Mutex<(order: [[String]], byValues: [[String]: Series])>(([], [:]))

    init(_ labels: [String], make: @escaping @Sendable () -> Series, samples: @escaping @Sendable (Series) -> [MetricSample]) {
        precondition(labels.allSatisfy(\.isLabelName), "\(labels) are not all names of labels")
        self.labels = labels
        self.make = make
        read = samples
    }

    /// The series with these label values, in the order of the labels; made where it is not there. Keep it where it is used often.
    public func callAsFunction(_ values: String...) -> Series {
        precondition(values.count == labels.count, "\(values.count) label values; \(labels.count) are expected: \(labels)")
        return series.withLock { series in
            if let known = series.byValues[values] { return known }
            let new = make()
            series.byValues[values] = new
            series.order.append(values)
            return new
        }
    }

    fileprivate var samples: [MetricSample] {
        let (order, byValues) = series.withLock { $0 }
        return order.flatMap { values -> [MetricSample] in
            let own = zip(labels, values).flatMap { [$0, $1] }
            return (byValues[values].map(read) ?? []).map { sample in
                var sample = sample
                sample.labels = own + sample.labels
                return sample
            }
        }
    }
}

extension String {
    fileprivate var isMetricName: Bool { isName(also: ":") }
    fileprivate var isLabelName: Bool { isName(also: "_") && !hasPrefix("__") }

    private func isName(also extra: Character) -> Bool {
        guard let first, !first.isNumber else { return false }
        return allSatisfy { $0 == "_" || $0 == extra || ($0.isASCII && ($0.isLetter || $0.isNumber)) }
    }

    fileprivate func escaped(quotes: Bool) -> String {
        guard utf8.contains(where: { $0 == UInt8(ascii: "\\") || $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\"") }) else {
            return self
        }
        var text = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\"" where quotes: text += "\\\""
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }
}

extension Double {
    /// As Prometheus reads it; whole numbers without a point.
    var metricText: String {
        if isNaN { return "NaN" }
        if isInfinite { return self < 0 ? "-Inf" : "+Inf" }
        return abs(self) < 1e15 && self == rounded() ? "\(Int64(self))" : "\(self)"
    }
}
