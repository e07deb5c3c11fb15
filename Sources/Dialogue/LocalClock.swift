import Conversation
import Foundation

/// Where the customers live.
enum Zone: Sendable {
    /// Seconds east of Greenwich.
    case fixed(Int)
    case named(TimeZone)

    /// A zone from `+08:00` or a name such as `Asia/Shanghai`; nil where it is neither.
    init?(_ text: String) {
        let scalars = Array(text.unicodeScalars)
        if scalars.count == 6, scalars[0] == "+" || scalars[0] == "-", scalars[3] == ":" {
            guard let hours = Int(text.dropFirst().prefix(2)), let minutes = Int(text.suffix(2)), hours <= 14, minutes < 60 else {
                return nil
            }
            self = .fixed((scalars[0] == "-" ? -1 : 1) * (hours * 3600 + minutes * 60))
        } else {
            guard text.contains("/") || text == "UTC", let zone = TimeZone(identifier: text) else { return nil }
            self = .named(zone)
        }
    }

    func offset(at now: Timestamp) -> Int {
        switch self {
        case .fixed(let seconds): seconds
        case .named(let zone): zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(now.milliseconds) / 1000))
        }
    }
}

/// The time of a turn as the customer's clock shows it.
struct LocalClock: Sendable {
    let now: Timestamp
    let zone: Zone

    /// Minutes since 1970-01-01T00:00 local time.
    var minutes: Int {
        let seconds = Int((Double(now.milliseconds) / 1000).rounded(.down)) + zone.offset(at: now)
        return seconds >= 0 ? seconds / 60 : (seconds - 59) / 60
    }

    var today: CivilDate { CivilDate(day: minutes.flooredQuotient(1440)) }
    var minuteOfDay: Int { minutes - minutes.flooredQuotient(1440) * 1440 }

    /// Whether a time in standard form ends before now; false for what is no time in ISO 8601.
    func isOver(_ normalized: String) -> Bool {
        guard let (_, end) = ResolvedTime.parse(normalized) else { return false }
        return end.map { $0 < minutes } ?? false
    }
}

extension Int {
    /// The quotient, rounded down.
    func flooredQuotient(_ divisor: Int) -> Int { self >= 0 ? self / divisor : (self - divisor + 1) / divisor }
}

/// A day of the Gregorian calendar.
struct CivilDate: Sendable, Equatable {
    /// Days since 1970-01-01.
    let day: Int

    init(day: Int) { self.day = day }

    /// nil where there is no such day.
    init?(year: Int, month: Int, day: Int) {
        guard (1970...9998).contains(year), (1...12).contains(month), (1...31).contains(day) else { return nil }
        // Years from March, so that the leap day is the last.
        let y = month > 2 ? year : year - 1
        let era = y / 400
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        self.day = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        guard parts == (year, month, day) else { return nil }
    }

    var parts: (year: Int, month: Int, day: Int) {
        let z = day + 719_468
        let era = z.flooredQuotient(146_097)
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let m = (5 * dayOfYear + 2) / 153
        let month = m < 10 ? m + 3 : m - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * m + 2) / 5 + 1)
    }

    /// 0: Monday, 6: Sunday.
    var weekday: Int { (day + 3) - (day + 3).flooredQuotient(7) * 7 }

    /// 2026-11-23
    var text: String {
        let (year, month, day) = parts
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    }

    func adding(_ days: Int) -> CivilDate { CivilDate(day: day + days) }
}

func padded(_ value: Int, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.count)) + text
}

/// A point or a span of local time.
struct ResolvedTime: Equatable {
    /// The first minute; nil: open.
    var start: Int?
    /// The last minute; nil: open.
    var end: Int?
    /// It is about whole days.
    var isDays = false

    /// In ISO 8601: `2026-11-23`, `2026-11-28/2026-11-29`, `2026-11-23T15:00`, `2026-11-23T12:00/18:00`, `2026-11-23T15:00/..`.
    var text: String {
        guard let start else { return "../" + (end.map { Self.text($0, isDays) } ?? "..") }
        guard let end else { return Self.text(start, isDays) + "/.." }
        let first = Self.text(start, isDays)
        if isDays { return start / 1440 == end / 1440 ? first : first + "/" + Self.text(end, true) }
        if start == end { return first }
        return start / 1440 == end / 1440 ? first + "/" + String(Self.text(end, false).suffix(5)) : first + "/" + Self.text(end, false)
    }

    private static func text(_ minutes: Int, _ isDay: Bool) -> String {
        let date = CivilDate(day: minutes.flooredQuotient(1440)).text
        let minute = minutes - minutes.flooredQuotient(1440) * 1440
        return isDay ? date : "\(date)T\(padded(minute / 60, 2)):\(padded(minute % 60, 2))"
    }

    /// Reads what ``text`` writes; nil where it is something else. `end` is nil where it is open.
    static func parse(_ text: String) -> (start: Int?, end: Int?)? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first else { return nil }
        let start = point(first)
        if parts.count == 1 {
            guard let start else { return nil }
            return (start.minutes, start.isDay ? start.minutes + 1439 : start.minutes)
        }
        if parts[1] == ".." { return start.map { ($0.minutes, nil) } }
        if parts[1].count == 5, let start, let minute = minute(parts[1]) {
            return (start.minutes, start.minutes.flooredQuotient(1440) * 1440 + minute)
        }
        guard let end = point(parts[1]), start != nil || parts[0] == ".." else { return nil }
        return (start?.minutes, end.isDay ? end.minutes + 1439 : end.minutes)
    }

    private static func point(_ text: Substring) -> (minutes: Int, isDay: Bool)? {
        let date = text.prefix(10).split(separator: "-").compactMap { Int($0) }
        guard date.count == 3, text.count == 10 || text.count == 16,
            let day = CivilDate(year: date[0], month: date[1], day: date[2])
        else { return nil }
        if text.count == 10 { return (day.day * 1440, true) }
        return minute(text.suffix(5)).map { (day.day * 1440 + $0, false) }
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":").compactMap { Int($0) }
        return parts.count == 2 ? parts[0] * 60 + parts[1] : nil
    }

    private static let weekdays = ["周一", "周二", "周三", "周四", "周五", "周六", "周日"]

    /// How a person says the days: `11月23日周一`; nil for what ``text`` did not write.
    static func spoken(_ normalized: String) -> String? {
        guard let (start, end) = parse(normalized), let first = start ?? end else { return nil }
        func day(_ minutes: Int) -> String {
            let date = CivilDate(day: minutes.flooredQuotient(1440))
            return "\(date.parts.month)月\(date.parts.day)日\(weekdays[date.weekday])"
        }
        guard let end, end.flooredQuotient(1440) != first.flooredQuotient(1440) else { return day(first) }
        return day(first) + "至" + day(end)
    }
}
