import PLPBase
import PLPKernels
import Testing

@Suite struct ImagesTests {
    /// A table that leaves bytes as they are.
    private static let identity: [Float] = (0..<768).map { Float($0 % 256) }

    /// Bytes that look random and are always the same.
    private func someImage(_ size: Int) -> [UInt8] {
        var random = RandomStream(seed: 0, .synthesis)
        return (0..<3 * size * size).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// An image [3][size][size] as it appears after a placement, in the same layout.
    private func moved(_ image: [UInt8], _ size: Int, _ placement: Placement) throws -> [UInt8] {
        let shape = try ImageShape(size: size)
        var interleaved = [Float](repeating: -1, count: image.count)
        shape.write(image, placement, table: Self.identity, to: &interleaved)
        return image.indices.map { interleaved[$0 % shape.plane * 3 + $0 / shape.plane] }.map { UInt8($0) }
    }

    /// The plain definition: the window at (4 + dx, 4 + dy) of the image with a margin of black.
    private func window(_ image: [UInt8], _ size: Int, dx: Int, dy: Int, mirrored: Bool) -> [UInt8] {
        image.indices.map { (index: Int) -> UInt8 in
            let (line, place) = index.quotientAndRemainder(dividingBy: size)
            let (channel, row) = line.quotientAndRemainder(dividingBy: size)
            let x = (mirrored ? size - 1 - place : place) + dx
            let y = row + dy
            return (0..<size).contains(x) && (0..<size).contains(y) ? image[(channel * size + y) * size + x] : 0
        }
    }

    @Test(arguments: [16, 32, 33, 96]) func cropsAreWindowsAndFlipsMirrorImages(size: Int) throws {
        let image = someImage(size)
        for dx in [-size - 1, 1 - size, -4, -1, 0, 1, 4, size - 1, size] {
            for dy in [-size, -4, 0, 3, size] {
                for mirrored in [false, true] {
                    #expect(
                        try moved(image, size, Placement(dx: dx, dy: dy, mirrored: mirrored))
                            == window(image, size, dx: dx, dy: dy, mirrored: mirrored))
                }
            }
        }
    }

    /// Which pixel of the original each pixel shows, from 1 (0 is black), hashed (FNV-1a) and compared with Pillow
    /// 9.4's `Image.rotate`, which torchvision's `RandomRotation` calls.
    @Test(
        arguments: [
            (32, 15, 0x2de6_13ad_e64d_e9b7), (32, -7.3, 0x20f2_bff1_ff2b_613f), (32, 3, 0xb325_fd5b_dc52_9834),
            (32, 90, 0x4851_d07e_9fa6_a119), (32, -12.25, 0xd8ce_2e8b_083e_41eb), (32, 45, 0x6d60_0cd5_dfbd_7a38),
            (17, 15, 0x968a_2c1d_dcbe_33ab), (48, -12.25, 0x5f32_c51e_9911_0e8e), (96, 45, 0xf835_788c_1ce2_9065),
        ] as [(Int, Float, UInt64)])
    func rotationIsPillows(size: Int, angle: Float, expected: UInt64) throws {
        let pixels = size * size
        let high: [UInt8] = (1...pixels).map { UInt8($0 >> 8) }
        let low: [UInt8] = (1...pixels).map { UInt8($0 & 255) }
        let rotated = try moved(high + low + low, size, Placement(angle: angle))
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for pixel in 0..<pixels {
            for byte in [rotated[pixels + pixel], rotated[pixel]] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        }
        #expect(hash == expected)
    }

    @Test(arguments: [32, 47]) func rotationComesLast(size: Int) throws {
        let image = someImage(size)
        for (dx, dy, mirrored) in [(0, 0, true), (3, -2, false), (-4, 4, true)] {
            for angle: Float in [-15, 7.5, 180] {
                let all = try moved(image, size, Placement(dx: dx, dy: dy, mirrored: mirrored, angle: angle))
                let first = try moved(image, size, Placement(dx: dx, dy: dy, mirrored: mirrored))
                #expect(try all == moved(first, size, Placement(angle: angle)))
            }
        }
    }

    @Test func rotationsThereAndBackLeaveTheMiddle() throws {
        // A smooth image: nearest pixels move a value by little.
        let image: [UInt8] = (0..<3072).map { (index: Int) -> UInt8 in UInt8(2 * (index % 32) + 3 * (index / 32 % 32)) }
        let back = try moved(moved(image, 32, Placement(angle: 11)), 32, Placement(angle: -11))
        for y in 10..<22 {
            for x in 10..<22 { #expect(abs(Int(back[y * 32 + x]) - Int(image[y * 32 + x])) <= 10) }
        }
    }

    @Test(arguments: [15, 97, 0, -32, .max]) func refusesAbsurdSizes(size: Int) {
        let failure = #expect(throws: Failure.self) { try ImageShape(size: size) }
        #expect(failure?.message == "image size: found \(size), expected a whole number from 16 to 96")
    }

    @Test func refusesAbsurdNormalizations() {
        for numbers: [Float] in [[], [1, 2], [1, 2, .nan], [1, 1, 1, 1], [.infinity, 1, 1]] {
            let failure = #expect(throws: Failure.self) { try Normalization(mean: numbers, deviation: [1, 1, 1]) }
            #expect(failure?.kind == .invalidArgument && failure?.message.hasPrefix("mean: found [") == true)
        }
        for numbers: [Float] in [[], [1, 1, 0], [1, -1, 1], [.nan, 1, 1], [1, 1, .infinity]] {
            let failure = #expect(throws: Failure.self) { try Normalization(mean: [0, 0, 0], deviation: numbers) }
            #expect(
                failure?.kind == .invalidArgument && failure?.message.hasPrefix("standard deviation: found [") == true)
        }
    }
}
