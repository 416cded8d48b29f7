// How work is cut into the parts that threads share, and what sizes that takes: all of it in one place.
//
// A cut follows from shapes alone, never from the number of threads, so that bits do not depend on it. It has to serve
// two cores and sixty-four: parts must be so many that no thread waits long for the last one, and still so large that
// no operand comes from memory more often than it must. Sums over channels are never divided; sums over pixels are, at
// places that shapes give. From this follow the cuts of the convolutions of Winograd.swift.
//
// Forward and input gradient:
// - Where the transformed weights U are small, a part is a block of tiles, which goes through transform, products and
//   output transform in the L2 cache of its thread. Each block reads all of U. Where blocks are few, a part computes
//   some columns of its block's products only.
// - Where U is large (512 channels: 38 MB), that would be too often. So all tiles are transformed first; then a part is
//   some columns of the products at a row of points, and makes the piece of U that it needs in its own cache: U is
//   never in memory; then the output transform runs over blocks of pixels.
//
// Weight gradient, summed over all tiles:
// - Where dU is a few blocks that fit the L2 cache each, and tiles are many, a part is a block over a slice of the tiles.
//   It transforms them, a few at a time: to do so again for each block takes less than to have them from the L3 cache,
//   where other threads would leave them. What it sums up is transformed in its cache, to be added to other slices'.
// - Elsewhere all threads transform the tiles, a chunk at a time, and then a part is a block at all points, transformed
//   as above, if there are enough blocks, or else a block at one point, and dU is in memory until the last chunk.
//
// All other products are cut into rows and columns of their results, and maps into blocks of pixels.

enum Cut {
    /// Parts that a loop should have: as many as the threads of a large machine. All that divides them, down to two, is
    /// served as well.
    static let parts = 64

    /// How many of `total` equal pieces a part should have: as many as `most` allows where 64 threads waste no more than
    /// a sixteenth of their time, or what wastes least.
    static func size(of total: Int, atMost most: Int, atLeast least: Int = 1) -> Int {
        let least = max(least, 1)
        let sizes = stride(from: max(most, least), through: least, by: -1)
        func time(_ size: Int) -> Int { size * rounds(divideUp(total, by: size)) }
        return sizes.first { 16 * parts * time($0) <= 17 * total } ?? sizes.min { time($0) < time($1) }!
    }

    /// In how many slices, at most `most`, to do each of `blocks` pieces of work: the fewest where 64 threads waste no
    /// more than a thirty-second, or what wastes least.
    static func slices(of blocks: Int, atMost most: Int) -> Int {
        let counts = 1...max(most, 1)
        return counts.first { 32 * parts * rounds($0 * blocks) <= 33 * $0 * blocks }
            ?? counts.min { $1 * rounds($0 * blocks) < $0 * rounds($1 * blocks) }!
    }

    /// Columns of a product, of `total`, in each part of so many blocks: all where that makes parts enough, else what
    /// wastes least.
    static func columns(of total: Int, inEachOf blocks: Int) -> Int {
        let panels = divideUp(total, by: columns)
        let sizes = (1...panels).reversed()
        func time(_ size: Int) -> Int { size * rounds(blocks * divideUp(panels, by: size)) }
        let size =
            sizes.first { 16 * parts * time($0) <= 17 * blocks * panels } ?? sizes.min { time($0) < time($1) }!
        return min(size * columns, total)
    }

    /// Columns of a weight gradient, of `total`, in each block, for which all pixels are gathered: what moves the fewest
    /// floats. More blocks gather more often, but may do with fewer slices, each of which writes a gradient of its own.
    static func gradientColumns(of total: Int, pixels: Int, slices: (_ blocks: Int) -> Int) -> Int {
        let fewest = divideUp(total, by: gradientColumns)
        let sizes = (fewest...2 * fewest).map { roundUp(divideUp(total, by: $0), to: columnStep) }
        func floatsPerRow(_ size: Int) -> Int {
            let blocks = divideUp(total, by: size)
            return blocks * pixels + slices(blocks) * total
        }
        return sizes.min { floatsPerRow($0) < floatsPerRow($1) }!
    }

    /// Parts that each of 64 threads computes.
    private static func rounds(_ count: Int) -> Int { divideUp(count, by: parts) }

    // MARK: Caches

    /// Floats that fit an L2 cache of a megabyte, with room for what passes through.
    static let cache = 224 * 1024

    /// Floats of a chunk of transformed tiles, which pass from thread to thread in the L3 cache, beside so many weights
    /// at all points, which are read for each chunk: twice as many, that neither is read much more than the other;
    /// between 4 MB, below which loops become short, and 32.
    static func chunk(beside weights: Int) -> Int { min(max(2 * weights, 1024 * 1024), 8 * 1024 * 1024) }

    /// Floats of U that are small enough, at 12 MB or 6, to be read from the L3 cache by each block of tiles. Of AVX2's
    /// narrow panels a product of few rows makes less.
    #if AVX512
        static let weights = 3 * 1024 * 1024
    #else
        static let weights = 1536 * 1024
    #endif

    // MARK: Products

    /// Columns of a product in one part: the widest panel, or four of AVX2's.
    static let columns = 64

    /// What columns are a multiple of where a cut may choose: narrower panels are slower.
    static let columnStep = columns / 2

    /// Depth at which a piece of a panel stays in the L2 cache for all rows.
    static let depth = 512

    /// How many rows before its turn a row of weights is fetched, of which only a few lines are read at a time: rows are
    /// powers of two apart, where a processor neither foresees the next nor, while stores to addresses with the same low
    /// bits are on their way, reads on.
    static let rowsAhead = 4

    // MARK: Tiles

    /// Most tiles in a block.
    static let tiles = 48

    /// Fewest tiles in a block where U is not in the L2 cache, that it is read for enough; and where it is.
    static let fewestTiles = (far: 16, near: 6)

    /// Channels of source and target of the pieces of U that are made for their use, one panel: some hundred KB at six
    /// points of AVX-512's.
    static let pieceDepth = 128
    static let pieceColumns = PackedMatrix.panelWidth

    /// Blocks of a weight gradient whose parts transform tiles by themselves: most, of 128 × 192 channels, and how many
    /// parts there must be at least. How many tiles a part transforms at a time, at least, that dU is read and written for
    /// enough.
    static let ownBlocks = (most: 6, fewestParts: 8)
    static let ownTiles = 32

    /// Fewest tiles that all threads transform for a weight gradient at a time, for the same reason.
    static let chunkTiles = 128

    // MARK: Gathered products

    /// Floats that are gathered for a block: half of an L2 cache, beside weights and result.
    static let gathered = 96 * 1024

    /// Rows of a product with gathered or one-to-one rows: most, and fewest.
    static let gatheredRows = (most: 192, fewest: 32)

    /// Rows and columns of a weight gradient in one part at most, which stay in the L2 cache, and pixels that it takes at a
    /// time: a tile of the gradient is written once for so many, of which the widest panel fits half of an L1 cache of
    /// 32 KB.
    static let gradientRows = 256
    static let gradientColumns = 192
    static let gradientPixels = 64

    // MARK: Linear layers

    /// Images whose gradients are packed together.
    static let linearImages = 256

    /// Rows of W in one part of a gradient: most, whose products stay in the L2 cache, and fewest.
    static let linearRows = (most: 48, fewest: 8)

    // MARK: Maps

    /// Floats of a block of pixels: 64 KB, of which a few maps' fit the L2 cache together.
    static let block = 16 * 1024
}
