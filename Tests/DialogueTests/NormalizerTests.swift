import Conversation
import Testing

@testable import Dialogue

/// Values in standard form: numbers read out, sums in words, times seen from a clock.
@Suite struct NormalizerTests {
    /// Sunday, 2026-11-22, 18:40 in Shanghai.
    static let clock = LocalClock(now: Timestamp(milliseconds: 1_795_344_000_000), zone: .fixed(8 * 3600))

    static func normalized(_ text: String, _ normalizer: Normalizer, clock: LocalClock = clock) -> String {
        Folded.string(normalizer.normalize(Array(text.unicodeScalars), clock: clock))
    }

    @Test(arguments: [
        ("202411110001", "202411110001"), ("２０２４ １１１１ ０００１", "202411110001"), ("2024-1111-0001", "202411110001"),
        ("二零二四一一一一〇〇〇一", "202411110001"), ("dd2024", "DD2024"),
    ]) func `codes`(_ text: String, _ expected: String) {
        #expect(Self.normalized(text, .code) == expected)
    }

    @Test(arguments: [
        ("138 0013 8000", "13800138000"), ("+86 13800138000", "13800138000"), ("0086-138-0013-8000", "13800138000"),
        ("幺三八零零幺三八零零零", "13800138000"), ("010-62345678", "01062345678"), ("8612345678", "8612345678"),
    ]) func `phones`(_ text: String, _ expected: String) {
        #expect(Self.normalized(text, .phone) == expected)
    }

    @Test(arguments: [
        ("199元", "199元"), ("一百九十九块", "199元"), ("一百九十九块五", "199.5元"), ("九块九毛九", "9.99元"), ("¥199.50", "199.50元"), ("两千三", "2300"),
        ("壹佰玖拾玖元整", "199元"), ("壹万贰仟元", "12000元"), ("一百零三元", "103元"), ("十五块", "15元"), ("两件", "2件"), ("两三件", "两三件"), ("500积分", "500积分"),
        ("两百元以内", "200元以内"), ("三期", "3期"), ("一万二", "12000"), ("5角", "5角"), ("若干", "若干"),
    ]) func `amounts`(_ text: String, _ expected: String) {
        #expect(Self.normalized(text, .amount) == expected)
    }

    @Test(arguments: [
        ("今天", "2026-11-22"), ("明天", "2026-11-23"), ("后天", "2026-11-24"), ("大后天", "2026-11-25"), ("昨天", "2026-11-21"),
        ("明天下午", "2026-11-23T12:00/18:00"),
        ("明早", "2026-11-23T06:00/10:00"), ("今晚八点", "2026-11-22T20:00"), ("明天下午三点", "2026-11-23T15:00"), ("明天3点半", "2026-11-23T15:30"),
        ("明天上午10:30", "2026-11-23T10:30"), ("明天下午两点到四点", "2026-11-23T14:00/16:00"), ("后天下午三点以后", "2026-11-24T15:00/.."),
        ("25号以前", "../2026-11-25"), ("周日", "2026-11-22"), ("周一", "2026-11-23"), ("这周六", "2026-11-21"), ("下周三", "2026-11-25"),
        ("下下周一", "2026-11-30"),
        ("星期五晚上", "2026-11-27T18:00/22:00"), ("周末", "2026-11-21/2026-11-22"), ("下周末", "2026-11-28/2026-11-29"),
        ("下周", "2026-11-23/2026-11-29"),
        ("11月25号", "2026-11-25"), ("十一月二十五日", "2026-11-25"), ("25号", "2026-11-25"), ("3号", "2026-12-03"), ("2027年1月2日", "2027-01-02"),
        ("11-25", "2026-11-25"), ("2026-11-25", "2026-11-25"), ("1月5号", "2027-01-05"), ("双十一", "2026-11-11"), ("元旦", "2027-01-01"),
        ("三天后", "2026-11-25"),
        ("过两天", "2026-11-24"), ("两小时后", "2026-11-22T20:40"), ("两周后", "2026-12-06"), ("下午", "2026-11-23T12:00/18:00"),
        ("晚上", "2026-11-22T18:00/22:00"),
        ("晚上十二点", "2026-11-22T23:59"), ("中午十二点", "2026-11-23T12:00"), ("中午一点", "2026-11-23T13:00"),
        ("12:00-14:00", "2026-11-23T12:00/14:00"),
    ]) func `times that are resolved`(_ text: String, _ expected: String) {
        #expect(Self.normalized(text, .time) == expected)
        // What is in standard form already stays.
        #expect(Self.normalized(expected, .time) == expected)
    }

    @Test(arguments: ["三天", "七天内", "工作日", "驿站", "2月30号", "明年", "明天送到驿站", "13月1号", "下午五点到三点", "这两天", "尽快", "", "1号楼", "25点"])
    func `what is no time stays as it is`(_ text: String) {
        #expect(Self.normalized(text, .time) == text)
    }

    @Test func `a time is over when its end has passed`() {
        for (text, isOver) in [
            ("2026-11-21", true), ("2026-11-22", false), ("2026-11-22T12:00/18:00", true), ("2026-11-22T12:00/20:00", false),
            ("2026-11-22T18:39", true),
            ("2026-11-22T18:40", false), ("2026-11-20/2026-11-22", false), ("2026-11-20/2026-11-21", true), ("2026-11-20T08:00/..", false),
            ("../2026-11-21", true), ("工作日", false), ("", false), ("2026-13-45", false),
        ] {
            #expect(Self.clock.isOver(text) == isOver, Comment(rawValue: text))
        }
    }

    @Test func `a named zone and a fixed one agree`() throws {
        let named = LocalClock(now: Self.clock.now, zone: try #require(Zone("Asia/Shanghai")))
        #expect(named.today == Self.clock.today && named.minuteOfDay == 18 * 60 + 40)
        #expect(Zone("China") == nil && Zone("+8") == nil && Zone("+15:00") == nil && Zone("-05:30") != nil)
        let west = LocalClock(now: Self.clock.now, zone: try #require(Zone("-05:30")))
        #expect(west.today.text == "2026-11-22" && west.minuteOfDay == 5 * 60 + 10)
    }

    @Test func `days of the calendar come and go`() throws {
        for day in stride(from: -800, to: 40_000, by: 13) {
            let date = CivilDate(day: day)
            let (year, month, number) = date.parts
            if year >= 1970 { #expect(CivilDate(year: year, month: month, day: number) == date) }
        }
        #expect(CivilDate(day: 0).text == "1970-01-01" && CivilDate(day: 0).weekday == 3)
        #expect(try #require(CivilDate(year: 2028, month: 2, day: 29)).adding(1).text == "2028-03-01")
        #expect(CivilDate(year: 2026, month: 2, day: 29) == nil)
    }
}
