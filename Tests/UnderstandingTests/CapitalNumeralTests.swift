import Testing

@testable import Understanding

@Suite struct CapitalNumeralTests {
    /// A span that cuts a number in capital numerals is grown to the whole of it; what is no such number stays.
    @Test(arguments: [
        ("退壹佰玖拾玖元整", 4..<8, 1..<8), ("壹佰玖拾玖", 2..<3, 0..<5), ("退玖拾玖元", 1..<3, 1..<4), ("退壹佰元", 1..<4, 1..<4),
        // 一 is a word, too: 统一五十元.
        ("统一五十元", 2..<5, 2..<5), ("退199元", 2..<5, 2..<5), ("玖元", 1..<2, 1..<2), ("玖", 0..<0, 0..<0),
    ])
    func isWhole(_ text: String, _ span: Range<Int>, _ whole: Range<Int>) {
        #expect(ChineseNumeral.completingCapitals(span, in: Array(text.unicodeScalars)) == whole)
    }
}
