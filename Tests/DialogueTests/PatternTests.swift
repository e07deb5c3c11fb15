import Testing

@testable import Dialogue

@Suite struct PatternTests {
    @Test(arguments: [
        ("abc", "abc", true), ("abc", "abcd", false), ("abc", "ab", false), ("", "", true), ("a*", "", true), ("a*", "aaaa", true),
        ("a+", "", false),
        ("a?b", "b", true), ("a?b", "aab", false), ("[a-c]{2,3}", "ab", true), ("[a-c]{2,3}", "abca", false), ("[^0-9]+", "张三", true),
        ("[^0-9]+", "张3", false), (#"1[3-9]\d{9}"#, "13800138000", true), (#"1[3-9]\d{9}"#, "12800138000", false),
        ("(ab|cd)+", "abcdab", true),
        ("(ab|cd)+", "abc", false), (".{5,}", "北京市海淀", true), (".{5,}", "北京市", false), (#"\(\)"#, "()", true), ("a|b|cc", "cc", true),
        ("(a|b){2}", "ba", true), ("x{0}", "", true), (#"[\d-]+"#, "010-1", true), (#"\w+\s"#, "a_9 ", true),
    ]) func `matches the whole text or not`(_ pattern: String, _ text: String, _ expected: Bool) throws {
        #expect(try Pattern(pattern).matches(Array(text.unicodeScalars)) == expected)
    }

    @Test(arguments: [
        ("[今明]天", "那就明天吧", true), ("[今明]天", "后天", false), ("b+", "abc", true), ("c", "abc", true), ("", "x", true), ("(省|市)x", "市省x", true),
    ])
    func `occurs in a text or not`(_ pattern: String, _ text: String, _ expected: Bool) throws {
        #expect(try Pattern(pattern).occurs(in: Array(text.unicodeScalars)) == expected)
    }

    @Test(arguments: [
        ("(a", "'(' is not closed by ')'"), ("a)", "')' at 2 closes nothing"), ("[a", "'[' is not closed by ']'"),
        ("[]", "[] holds nothing"),
        ("*a", "'*' at 1 repeats nothing"), ("a{3,1}", "the counts in {} must rise"),
        ("a{x}", "a count up to 2000 was expected at 3, as in {8,24}"),
        ("a{2", "'{' must be closed by '}', as in {8,24}"), ("[z-a]", "the range z-a runs backwards"),
        (#"\q"#, #"'\q' is not known; \d, \w and \s are"#),
        (#"a\"#, #"the last '\' escapes nothing"#), ("()", "() holds nothing"),
        ("(a{1000}){1000}", "it is too large; fewer or smaller counts in {} are expected"),
        ("x{0}{2000}{2000}{2000}", "it is too large; fewer or smaller counts in {} are expected"),
        ("a" + String(repeating: "+", count: 100_000), "more than 8 of *, +, ? and {} stand one behind the other"),
        ("^a", #"'^' at 1 is not needed: a slot's whole value is matched; write \^ for the sign itself"#),
    ]) func `says what is wrong`(_ pattern: String, _ message: String) throws {
        let error = try #require(throws: PatternError.self) { () throws(PatternError) in try Pattern(pattern) }
        #expect(error.message == message)
    }

    @Test func `a pattern that backtracking never ends is matched at once`() throws {
        let pattern = try Pattern("(a*)*b")
        #expect(!pattern.matches(Array(String(repeating: "a", count: 512).unicodeScalars)))
    }
}
