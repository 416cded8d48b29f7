import Glibc
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

    @Test(arguments: [1, 16, 1000, 1024, 100_003]) func buffersAreAlignedAndZero(count: Int) throws {
        let buffer = try FloatBuffer(count: count)
        #expect(UInt(bitPattern: buffer.pointer) % UInt(FloatBuffer.alignment) == 0)
        #expect(buffer.array == Array(repeating: 0, count: count))
    }

    #if CHECKED
        @Test func readingBehindABufferEndsTheProcess() async {
            await #expect(processExitsWith: .signal(SIGSEGV)) {
                let buffer = try FloatBuffer(count: 1000)  // 4,000 bytes, which alignment makes 4,032
                exit(buffer.pointer[1008] == 0 ? 0 : 1)
            }
        }

        @Test func scratchMemoryBeginsAsNaN() throws {
            #expect(try FloatBuffer(scratch: 1000).array.allSatisfy { $0.isSignalingNaN })
        }

        @Test func slicesBeyondTheChannelsEndTheProcess() async {
            await #expect(processExitsWith: .failure) {
                let buffer = try FloatBuffer(count: 8)
                _ = Maps(buffer.pointer, count: 1, height: 1, width: 1, channels: 8).slice(4..<9)
            }
        }
    #endif
}
