import PLPBase
import PLPKernels
import Testing

struct BuffersTests {
    @Test func copiesOfAnotherSizeEndTheProcess() async throws {
        let result = try await #require(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            try FloatBuffer(count: 2).copy(from: FloatBuffer(count: 3))
        }
        #expect(String(decoding: result.standardErrorContent, as: UTF8.self).contains("found 3 values, expected 2"))
    }
}
