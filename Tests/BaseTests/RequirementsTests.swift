import Glibc
import PLPBase
import PLPTestSupport
import Testing

@Suite struct RequirementsTests {
    @Test func messagesQuoteALineAtMost() {
        let long = String(repeating: "é", count: 1_000_000)
        #expect(excerpt(long) == String(repeating: "é", count: 200) + "…")
        #expect(excerpt(String(long.prefix(200))) == String(long.prefix(200)))
        expectFailure(.invalidArgument, "name: found éé", "éé…, expected a shorter one") {
            try require(false, "name", long, expected: "a shorter one")
        }
    }

    @Test func messagesQuoteNothingThatCommandsATerminal() {
        #expect(excerpt("a\u{1b}[31m\r\nb\u{7f}\u{202e}\u{2028}") == #"a\u{1B}[31m\r\nb\u{7F}\u{202E}\u{2028}"#)
        #expect(excerpt("modèle, 模型, 🐟") == "modèle, 模型, 🐟")
        #expect(excerpt([1, 2]) == "[1, 2]")
        let lines = Failure(.corrupt, "a: found \u{1b}[2J\r,\n    b\u{85}").message
        #expect(lines == #"a: found \u{1B}[2J\r,"# + "\n" + #"    b\u{0085}"#)
        let missing = Failure(errno: ENOENT, "a\n\u{1b}b")
        #expect(missing.message == #"a\n\u{1B}b: No such file or directory"# && missing.path == "a\n\u{1b}b")
    }
}
