import Conversation
import Dialogue
import Testing

@testable import DialogueService

@Suite struct RedactionTests {
    @Test func aBackendsErrorStandsInLogsWithoutWhatTheCustomerSaid() {
        let call = ActionCall(
            name: "address.change", flow: "address_change",
            arguments: [
                SlotValue(name: "address", value: "文三路 100 号", normalized: "文三路100号"),
                SlotValue(name: "phone", value: "１３８００１３８０００", normalized: "13800138000"),
                SlotValue(name: "note", value: "", normalized: ""),
            ], idempotencyKey: "u:s:1")
        let text = call.hidingArguments(in: "INVALID_ARGUMENT: no house at 文三路 100 号 (文三路100号), call 13800138000")
        #expect(text == "INVALID_ARGUMENT: no house at *** (***), call ***")
    }
}
