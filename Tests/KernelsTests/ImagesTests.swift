import PLPBase
import PLPKernels
import Testing

@Suite struct ImagesTests {
    /// A table that leaves bytes as they are.
    private static let identity: [Float] = (0..<768).map { Float($0 % 256) }

    /// From [32][32][3] values to [3][32][32] bytes.
    private func planes(_ interleaved: [Float]) -> [UInt8] {
        (0..<3072).map { (index: Int) -> UInt8 in UInt8(interleaved[index % 1024 * 3 + index / 1024]) }
    }

    /// Bytes that look random and are always the same.
    private func someImage() -> [UInt8] {
        var random = RandomStream(seed: 0, .synthesis)
        return (0..<3072).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// An image [3][32][32] as it appears after a placement, in the same layout.
    private func moved(_ image: [UInt8], _ placement: Placement) -> [UInt8] {
        var interleaved = [Float](repeating: -1, count: 3072)
        Images.write(image, placement, table: Self.identity, to: &interleaved)
        return planes(interleaved)
    }

    /// The plain definition: the window at (4 + dx, 4 + dy) of the image with a margin of black.
    private func window(_ image: [UInt8], dx: Int, dy: Int, mirrored: Bool) -> [UInt8] {
        (0..<3072).map { (index: Int) -> UInt8 in
            let (channel, row, place) = (index / 1024, index / 32 % 32, index % 32)
            let x = (mirrored ? 31 - place : place) + dx
            let y = row + dy
            return (0..<32).contains(x) && (0..<32).contains(y) ? image[channel * 1024 + y * 32 + x] : 0
        }
    }

    @Test func cropsAreWindowsAndFlipsMirrorImages() {
        let image = someImage()
        for dx in [-32, -31, -4, -1, 0, 1, 4, 31, 32] {
            for dy in [-32, -4, 0, 3, 32] {
                for mirrored in [false, true] {
                    #expect(
                        moved(image, Placement(dx: dx, dy: dy, mirrored: mirrored))
                            == window(image, dx: dx, dy: dy, mirrored: mirrored))
                }
            }
        }
    }

    /// Which pixel of the original each pixel shows, from 1 (0 is black), hashed (FNV-1a) and compared with Pillow
    /// 9.4's `Image.rotate`, which torchvision's `RandomRotation` calls.
    @Test(
        arguments: [
            (15, 0x2de6_13ad_e64d_e9b7), (-7.3, 0x20f2_bff1_ff2b_613f), (3, 0xb325_fd5b_dc52_9834),
            (90, 0x4851_d07e_9fa6_a119), (-12.25, 0xd8ce_2e8b_083e_41eb), (45, 0x6d60_0cd5_dfbd_7a38),
        ] as [(Float, UInt64)])
    func rotationIsPillows(angle: Float, expected: UInt64) {
        let high: [UInt8] = (1...1024).map { UInt8($0 >> 8) }
        let low: [UInt8] = (1...1024).map { UInt8($0 & 255) }
        let numbers = high + low + low
        let rotated = moved(numbers, Placement(angle: angle))
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for pixel in 0..<1024 {
            for byte in [rotated[1024 + pixel], rotated[pixel]] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        #expect(hash == expected)
    }

    @Test func rotationComesLast() {
        let image = someImage()
        for (dx, dy, mirrored) in [(0, 0, true), (3, -2, false), (-4, 4, true)] {
            for angle: Float in [-15, 7.5, 180] {
                let all = moved(image, Placement(dx: dx, dy: dy, mirrored: mirrored, angle: angle))
                let first = moved(image, Placement(dx: dx, dy: dy, mirrored: mirrored))
                #expect(all == moved(first, Placement(angle: angle)))
            }
        }
    }

    @Test func rotationsThereAndBackLeaveTheMiddle() {
        // A smooth image: nearest pixels move a value by little.
        let image: [UInt8] = (0..<3072).map { (index: Int) -> UInt8 in UInt8(2 * (index % 32) + 3 * (index / 32 % 32)) }
        let back = moved(moved(image, Placement(angle: 11)), Placement(angle: -11))
        for y in 10..<22 {
            for x in 10..<22 { #expect(abs(Int(back[y * 32 + x]) - Int(image[y * 32 + x])) <= 10) }
        }
    }

    @Test func refusesAbsurdNormalizations() {
        for numbers: [Float] in [[], [1, 2], [1, 2, .nan], [1, 1, 1, 1], [.infinity, 1, 1]] {
            let failure = #expect(throws: Failure.self) { try Normalization(mean: numbers, deviation: [1, 1, 1]) }
            #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix("mean: found [") == true)
        }
        for numbers: [Float] in [[], [1, 1, 0], [1, -1, 1], [.nan, 1, 1], [1, 1, .infinity]] {
            let failure = #expect(throws: Failure.self) { try Normalization(mean: [0, 0, 0], deviation: numbers) }
            #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix("deviation: found [") == true)
        }
    }
}
