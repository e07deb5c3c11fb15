import ServiceKit
import Testing

@Suite struct AllowedCallersTests {
    private let callers: AllowedCallers

    init() throws {
        callers = try AllowedCallers(
            text: """
                # who may call what
                front.shop  kefu.dialogue.v1.Dialogue/Reply kefu.dialogue.v1.Dialogue/Converse
                desk.shop   kefu.handoff.v1.HandOff/*
                desk.shop   kefu.dialogue.v1.Dialogue/GetSession

                operator    *
                *           grpc.reflection.v1.ServerReflection/*
                """, source: "callers")
    }

    @Test(arguments: [
        (["front.shop"], "/kefu.dialogue.v1.Dialogue/Reply", true), (["front.shop"], "/kefu.dialogue.v1.Dialogue/EndSession", false),
        (["other", "front.shop"], "/kefu.dialogue.v1.Dialogue/Converse", true), (["desk.shop"], "/kefu.handoff.v1.HandOff/Claim", true),
        (["desk.shop"], "/kefu.dialogue.v1.Dialogue/GetSession", true), (["desk.shop"], "/kefu.dialogue.v1.Dialogue/Reply", false),
        (["operator"], "/kefu.dialogue.v1.Dialogue/EndSession", true), (["stranger"], "/kefu.dialogue.v1.Dialogue/Reply", false),
        (["stranger"], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true),
        ([], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", false),
        // Names and methods are whole.
        (["front.shop.evil"], "/kefu.dialogue.v1.Dialogue/Reply", false), (["front.shop"], "/kefu.dialogue.v1.Dialogue/Reply2", false),
        (["desk.shop"], "/kefu.handoff.v1.HandOff2/Claim", false),
    ])
    func permits(_ names: [String], _ path: String, _ expected: Bool) { #expect(callers.permits(names, to: path) == expected) }

    @Test(arguments: [
        ("", "callers names no caller"), ("# nothing", "callers names no caller"),
        ("front.shop", "callers:1: 'front.shop' may call nothing"),
        ("a *\nb Reply", "callers:2: 'Reply' is no method"), ("a /Reply", "callers:1: '/Reply' is no method"),
        ("a kefu.*/Reply", "'kefu.*/Reply' is no method"), ("a x/y/z", "'x/y/z' is no method"), ("a x/Re*", "'x/Re*' is no method"),
    ])
    func isRefused(_ text: String, _ what: String) {
        let error = #expect(throws: SettingsError.self) { try AllowedCallers(text: text, source: "callers") }
        #expect(error.map { "\($0)".contains(what) } == true)
    }

    @Test func aServiceThatIsNotThereIsTold() throws {
        let served = ["kefu.dialogue.v1.Dialogue", "kefu.handoff.v1.HandOff", "grpc.reflection.v1.ServerReflection"]
        try callers.check(against: served)
        let error = #expect(throws: SettingsError.self) { try callers.check(against: Array(served.dropFirst())) }
        #expect(error.map { "\($0)".contains("callers:2: there is no service 'kefu.dialogue.v1.Dialogue'") } == true)
    }
}
