import Testing
import Torch
@Test func version() { #expect(torchVersion().hasPrefix("2.13")) }
