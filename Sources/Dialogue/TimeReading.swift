// Times as customers say them, seen from the time of the turn: 明天下午, 下周三, 11月11号晚上八点以后, 三天后.
extension LocalClock {
    /// The time that the whole of `text` says; nil where it says none, or more than a time.
    func resolve(_ text: [Unicode.Scalar]) -> ResolvedTime? {
        var reader = TimeReader(text: text, clock: self)
        return reader.read()
    }
}

private struct TimeReader {
    let text: [Unicode.Scalar]
    let clock: LocalClock
    var position = 0

    private static let fillers = ["大概", "大约", "差不多", "左右", "那天", "当天", "的", "吧", "就", "在", "那", "之间"].map { Array($0.unicodeScalars) }
    private static let days: [(word: [Unicode.Scalar], offset: Int)] = [
        ("大前天", -3), ("大后天", 3), ("前天", -2), ("昨天", -1), ("昨日", -1), ("今天", 0), ("今日", 0), ("今儿", 0), ("明天", 1), ("明日", 1), ("明儿", 1),
        ("后天", 2),
        ("昨", -1), ("今", 0), ("明", 1),
    ].map { (Array($0.0.unicodeScalars), $0.1) }
    /// From and to which minute of the day a part of it lasts.
    private static let parts: [(word: [Unicode.Scalar], from: Int, to: Int)] = [
        ("凌晨", 0, 360), ("早上", 360, 600), ("早晨", 360, 600), ("清晨", 360, 540), ("一早", 360, 600), ("上午", 480, 720), ("中午", 660, 840),
        ("午后", 720, 1080),
        ("下午", 720, 1080), ("傍晚", 1020, 1200), ("晚上", 1080, 1320), ("夜里", 1200, 1439), ("早", 360, 600), ("晚", 1080, 1320),
    ].map { (Array($0.0.unicodeScalars), $0.1, $0.2) }
    private static let holidays: [(word: [Unicode.Scalar], month: Int, day: Int)] = [
        ("双十一", 11, 11), ("双11", 11, 11), ("双十二", 12, 12), ("双12", 12, 12), ("元旦", 1, 1), ("国庆节", 10, 1), ("国庆", 10, 1), ("圣诞节", 12, 25),
        ("圣诞", 12, 25),
    ].map { (Array($0.0.unicodeScalars), $0.1, $0.2) }

    mutating func read() -> ResolvedTime? {
        skipFillers()
        if let later = later() { return position == text.count ? later : nil }
        let days = days()
        skipFillers()
        let part = part()
        skipFillers()
        let begin = time(part: part)
        var end: Int?
        if begin != nil, take("到") || take("至") || take("-") || take("~") { end = time(part: part) }
        skipFillers()
        let limit = limit()
        skipFillers()
        guard position == text.count, days != nil || part != nil || begin != nil else { return nil }
        guard part != nil || begin != nil else { return days.map { limited($0, limit) } }
        // Without a day the next such time is meant.
        let (from, to) = begin.map { ($0, end ?? $0) } ?? (part?.from ?? 0, part?.to ?? 0)
        guard from <= to else { return nil }
        let first = days?.start.map { $0.flooredQuotient(1440) } ?? clock.today.day + (to < clock.minuteOfDay ? 1 : 0)
        if let days, days.end.map({ $0.flooredQuotient(1440) }) != first { return nil }
        return limited(ResolvedTime(start: first * 1440 + from, end: first * 1440 + to), limit)
    }

    private enum Limit { case none, after, before }

    private func limited(_ time: ResolvedTime, _ limit: Limit) -> ResolvedTime {
        switch limit {
        case .none: time
        case .after: ResolvedTime(start: time.start, end: nil, isDays: time.isDays)
        case .before: ResolvedTime(start: nil, end: time.start, isDays: time.isDays)
        }
    }

    // MARK: Words

    private mutating func take(_ word: [Unicode.Scalar]) -> Bool {
        guard text[position...].starts(with: word) else { return false }
        position += word.count
        return true
    }

    private mutating func take(_ word: String) -> Bool { take(Array(word.unicodeScalars)) }

    private mutating func skipFillers() {
        while Self.fillers.contains(where: { take($0) }) {}
    }

    /// A number followed by one of `units`; the position stays where there is none.
    private mutating func number(_ units: [String]) -> Int? {
        let start = position
        if let (value, end) = SpokenNumber.read(text, from: position) {
            position = end
            if units.contains(where: { take($0) }) { return value }
        }
        position = start
        return nil
    }

    private mutating func limit() -> Limit {
        if take("以后") || take("之后") || take("后") || take("起") { return .after }
        if take("以前") || take("之前") || take("前") { return .before }
        return .none
    }

    // MARK: Days

    /// 三天后, 两小时后, 过三天
    private mutating func later() -> ResolvedTime? {
        let start = position
        let isPassed = take("过")
        if let days = number(["个星期", "个礼拜", "星期", "礼拜", "周"]).map({ $0 * 7 }) ?? number(["天"]), days <= 3660, isPassed || limit() == .after
        {
            let day = (clock.today.day + days) * 1440
            skipFillers()
            return ResolvedTime(start: day, end: day, isDays: true)
        }
        position = start
        if let hours = number(["个小时", "小时", "个钟头"]), hours <= 1000, limit() == .after {
            return ResolvedTime(start: clock.minutes + hours * 60, end: clock.minutes + hours * 60)
        }
        position = start
        return nil
    }

    private mutating func days() -> ResolvedTime? {
        func whole(_ first: CivilDate, _ count: Int = 1) -> ResolvedTime {
            ResolvedTime(start: first.day * 1440, end: (first.day + count - 1) * 1440, isDays: true)
        }
        if let (_, offset) = Self.days.first(where: { take($0.word) }) { return whole(clock.today.adding(offset)) }
        if let (_, month, day) = Self.holidays.first(where: { take($0.word) }) { return nearest(month: month, day: day).map { whole($0) } }
        if let week = week() { return week }
        return date().map { whole($0) }
    }

    private mutating func week() -> ResolvedTime? {
        let start = position
        var weeks: Int?
        if take("下下个") || take("下下") {
            weeks = 2
        } else if take("下个") || take("下") {
            weeks = 1
        } else if take("上个") || take("上") {
            weeks = -1
        } else if take("这个") || take("这") || take("本") {
            weeks = 0
        }
        let monday = clock.today.day - clock.today.weekday
        func span(_ first: Int, _ count: Int) -> ResolvedTime {
            ResolvedTime(start: first * 1440, end: (first + count - 1) * 1440, isDays: true)
        }
        guard take("周") || take("星期") || take("礼拜") else {
            position = start
            return nil
        }
        if take("末") { return span(monday + 5 + 7 * (weeks ?? 0), 2) }
        var weekday: Int?
        if take("日") || take("天") {
            weekday = 6
        } else if position < text.count, let digit = SpokenNumber.digit(text[position]) ?? Int(String(text[position])),
            (1...7).contains(digit)
        {
            weekday = digit - 1
            position += 1
        }
        guard let weekday else {
            if let weeks, weeks != 0 || position == text.count { return span(monday + 7 * weeks, 7) }
            position = start
            return nil
        }
        // 周三 by itself is the next one, today included.
        if let weeks { return span(monday + 7 * weeks + weekday, 1) }
        return span(monday + weekday + (weekday < clock.today.weekday ? 7 : 0), 1)
    }

    /// 2026年11月11日, 11月11号, 11-11, 11号
    private mutating func date() -> CivilDate? {
        let start = position
        let year = number(["年"])
        if let month = number(["月"]), let day = number(["号", "日", ""]) {
            return year.flatMap { CivilDate(year: $0 < 100 ? 2000 + $0 : $0, month: month, day: day) }
                ?? (year == nil ? nearest(month: month, day: day) : nil)
        }
        position = start
        if let day = number(["号", "日"]), (1...31).contains(day) {
            let (year, month, today) = clock.today.parts
            if day >= today, let date = CivilDate(year: year, month: month, day: day) { return date }
            return CivilDate(year: month == 12 ? year + 1 : year, month: month == 12 ? 1 : month + 1, day: day)
        }
        position = start
        if let (first, end) = SpokenNumber.read(text, from: position), end < text.count, text[end] == "-" || text[end] == "/",
            let (second, secondEnd) = SpokenNumber.read(text, from: end + 1), secondEnd == text.count || text[secondEnd] != ":"
        {
            position = secondEnd
            if first >= 1970, position < text.count, text[position] == "-" || text[position] == "/",
                let (third, end) = SpokenNumber.read(text, from: position + 1)
            {
                position = end
                return CivilDate(year: first, month: second, day: third)
            }
            if let date = nearest(month: first, day: second) { return date }
        }
        position = start
        return nil
    }

    /// The day of this name that is nearest to today.
    private func nearest(month: Int, day: Int) -> CivilDate? {
        let year = clock.today.parts.year
        return [year - 1, year, year + 1].compactMap { CivilDate(year: $0, month: month, day: day) }
            .min { abs($0.day - clock.today.day) < abs($1.day - clock.today.day) }
    }

    // MARK: Within the day

    private mutating func part() -> (from: Int, to: Int)? {
        Self.parts.first { take($0.word) }.map { ($0.from, $0.to) }
    }

    /// 三点半, 15:30, 八点一刻
    private mutating func time(part: (from: Int, to: Int)?) -> Int? {
        let start = position
        guard let (read, end) = SpokenNumber.read(text, from: position), (0...24).contains(read), end < text.count else { return nil }
        position = end
        var hour = read
        var minute = 0
        if take(":") {
            guard let (value, end) = SpokenNumber.read(text, from: position), value < 60 else {
                position = start
                return nil
            }
            minute = value
            position = end
        } else if take("点钟") || take("点整") || take("点") || take("时") {
            if take("半") {
                minute = 30
            } else if take("一刻") {
                minute = 15
            } else if take("三刻") {
                minute = 45
            } else if let (value, end) = SpokenNumber.read(text, from: position), value < 60 {
                minute = value
                position = end
                _ = take("分")
            }
        } else {
            position = start
            return nil
        }
        // 下午三点 is 15:00; without a part of the day, small hours are those of the afternoon.
        if hour < 12, part.map({ $0.to > 720 && !(hour >= 11 && $0.from < 720) }) ?? (1...7).contains(hour) { hour += 12 }
        if hour == 12, let part, part.from >= 1080 { hour = 24 }
        return min(hour * 60 + minute, 1439)
    }
}
