/// Numbers of times in digits.
enum TimeNormalizer {
    /// What a number counts in; the first that fits is taken.
    private static let units = [
        "个小时", "个钟头", "个工作日", "个月", "个半月", "个星期", "个礼拜", "小时", "分钟", "工作日", "年", "月", "号", "日", "天", "点", "时", "分", "秒", "刻", "周",
    ]
    .map { Array($0.unicodeScalars) }
    /// After these a number is no count: 周三, 星期三, 礼拜三, 第三天.
    private static let ordinals: Set<Unicode.Scalar> = ["周", "期", "拜"]
    /// After these a number of days is a manner of speaking: 这两天, 过两天.
    private static let idioms: Set<Unicode.Scalar> = ["这", "那", "过", "前", "头", "第"]

    static func normalize(_ scalars: [Unicode.Scalar]) -> String {
        var out: [Unicode.Scalar] = []
        var position = 0
        while position < scalars.count {
            if let last = out.last, ordinals.contains(last), ChineseNumeral.digit(scalars[position]) != nil {
                out.append(scalars[position])
                position += 1
            }
            let end = ChineseNumeral.end(of: scalars, from: position)
            guard end > position else {
                if position < scalars.count { out.append(scalars[position]) }
                position += 1
                continue
            }
            let written = scalars[position..<end]
            if let number = ChineseNumeral(written), units.contains(where: { scalars[end...].starts(with: $0) }),
                out.last.map({ !idioms.contains($0) }) ?? true,
                !AmountNormalizer.isRough(number, written)
            {
                out.append(contentsOf: number.text.unicodeScalars)
            } else {
                out.append(contentsOf: written)
            }
            position = end
        }
        return SlotNormalizer.text(out)
    }
}
