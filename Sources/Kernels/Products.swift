// Matrix products C (+)= A·B of the sizes convolutions have, for one thread: everything lies in its L2 cache.
//
// B is packed in panels: the columns are cut into groups of `panelWidth`, and a panel holds its rows one behind the
// other, so that the kernel reads it from front to back. A is read where it lies, one value at a time, by rows or by
// columns. The kernel keeps a tile of C in registers (6 rows × 64 columns are 24 of AVX-512's 32; 6 × 16 are 12 of
// AVX2's 16) and adds one product of a column of A and a row of B after the other. An element of C is the same sum in
// the same order however the rows are cut into blocks. (Goto and van de Geijn, Anatomy of high-performance matrix
// multiplication, 2008.)

import CLinux

enum PackedMatrix {
    #if AVX512
        static let panelWidth = 64
    #else
        static let panelWidth = 16
    #endif

    /// Columns as packed: up to the next whole vector.
    static func paddedColumns(_ columns: Int) -> Int { roundUp(columns, to: Vector.lanes) }

    static func count(rows: Int, columns: Int) -> Int { rows * paddedColumns(columns) }

    /// Calls `body` for each panel with its first column, its width in memory, and where it starts in the packed
    /// matrix.
    @inline(__always)
    static func forEachPanel(rows: Int, columns: Int, _ body: (_ column: Int, _ width: Int, _ offset: Int) -> Void) {
        let padded = paddedColumns(columns)
        for column in stride(from: 0, to: padded, by: panelWidth) {
            body(column, min(panelWidth, padded - column), rows * column)
        }
    }

    /// Packs rows `range` of a matrix of `rows` rows, which `row` finds in memory, and fetches before their turn.
    @inline(__always)
    static func pack(
        _ range: Range<Int>, of rows: Int, columns: Int, to packed: UnsafeMutablePointer<Float>,
        row: (_ index: Int) -> UnsafePointer<Float>
    ) {
        forEachPanel(rows: rows, columns: columns) { column, width, offset in
            for index in range {
                let source = row(index) + column
                let target = packed + offset + index * width
                let ahead = row(min(index + Cut.rowsAhead, range.upperBound - 1)) + column
                for lane in stride(from: 0, to: width, by: Vector.lanes) {
                    fetch(ahead + lane)
                    Vector(at: source + lane, count: columns - column - lane).store(to: target + lane)
                }
            }
        }
    }

    /// Packs rows `range`, 16 at most, of a matrix of `rows` rows that lie in memory as columns, the next of the values
    /// of a row `stride` after the one before.
    static func packTransposed(
        _ range: Range<Int>, of rows: Int, columns: Int, from source: UnsafePointer<Float>, stride: Int,
        to packed: UnsafeMutablePointer<Float>
    ) {
        withUnsafeTemporaryAllocation(of: Vector.self, capacity: 2 * Vector.lanes) { block in
            forEachPanel(rows: rows, columns: columns) { column, width, offset in
                for lane in Swift.stride(from: 0, to: width, by: Vector.lanes) {
                    loadTransposed(
                        source + (column + lane) * stride, rowStride: stride, rows: columns - column - lane,
                        columns: range.count, to: block.baseAddress!)
                    for (number, index) in range.enumerated() {
                        block[number].store(to: packed + offset + index * width + lane)
                    }
                }
            }
        }
    }
}

/// The left factor, where it lies: values of a row follow each other, or values of a column.
struct LeftMatrix {
    enum Order {
        case rows
        case columns
    }

    var base: UnsafePointer<Float>
    var order: Order
    /// From the start of a row to the next, or of a column.
    var stride: Int

    static func rows(_ base: UnsafePointer<Float>, stride: Int) -> Self {
        Self(base: base, order: .rows, stride: stride)
    }
    static func columns(_ base: UnsafePointer<Float>, stride: Int) -> Self {
        Self(base: base, order: .columns, stride: stride)
    }

    /// Without the rows and columns before these.
    @inline(__always)
    func from(row: Int = 0, column: Int = 0) -> Self {
        let offset = order == .rows ? row * stride + column : row + column * stride
        return Self(base: base + offset, order: order, stride: stride)
    }
}

/// What is read after a product, and fetched into the L2 cache meanwhile. Left to the processor, that begins with the
/// first tile that needs it, for which some processors' L3 cache is far too slow. Each tile fetches a line for each step
/// of its depth, until all are.
struct Upcoming {
    var firstLine: UnsafePointer<Float>
    var lineStride: Int
    /// From a tile's first line to the next tile's.
    var tileStride: Int
    var tiles: Int

    /// As much as a panel of this width and depth, in the order of memory.
    static func panel(_ base: UnsafePointer<Float>, width: Int, depth: Int) -> Self {
        let lanes = Vector.lanes
        return Self(firstLine: base, lineStride: lanes, tileStride: depth * lanes, tiles: width / lanes)
    }

    /// The first `width` values of as many rows as the product is deep.
    static func rows(_ base: UnsafePointer<Float>, stride: Int, width: Int) -> Self {
        let lanes = Vector.lanes
        return Self(firstLine: base, lineStride: stride, tileStride: lanes, tiles: divideUp(width, by: lanes))
    }

    /// What is left for the tiles after the first.
    @inline(__always)
    var afterTile: Self? {
        guard tiles > 1 else { return nil }
        var rest = self
        rest.firstLine += tileStride
        rest.tiles -= 1
        return rest
    }
}

/// C (+)= A·B with B packed in panels; reads and writes `columns` columns of C, not the padding. Each panel is fetched
/// while the one before is multiplied; where `next` begins is the B of the product after this one.
@inline(never)
func multiply(
    _ a: LeftMatrix, _ packed: UnsafePointer<Float>, next: UnsafePointer<Float>? = nil,
    to c: UnsafeMutablePointer<Float>, stride cStride: Int, rows: Int, columns: Int, depth: Int,
    accumulate: Bool = false
) {
    let end = packed + PackedMatrix.count(rows: depth, columns: columns)
    let piece = Cut.depth
    PackedMatrix.forEachPanel(rows: depth, columns: columns) { column, width, offset in
        for start in stride(from: 0, to: max(depth, 1), by: piece) {
            let depth = min(piece, depth - start)
            let panel = packed + offset + start * width
            let behind = panel + depth * width
            multiplyPanel(
                a.from(column: start), panel, width: width,
                next: (behind < end ? behind : next).map { .panel($0, width: width, depth: depth) }, to: c + column,
                stride: cStride, rows: rows, columns: min(width, columns - column), depth: depth,
                accumulate: accumulate || start > 0)
        }
    }
}

/// The same for one panel of `width` columns, of which C has the first `columns`. Meanwhile `next` is fetched.
@inline(never)
func multiplyPanel(
    _ a: LeftMatrix, _ panel: UnsafePointer<Float>, width: Int, next: Upcoming? = nil,
    to c: UnsafeMutablePointer<Float>, stride cStride: Int, rows: Int, columns: Int, depth: Int, accumulate: Bool
) {
    guard columns == width else {
        // C is narrower than the panel: the product goes into a tile as wide as the panel, then what belongs to C into
        // C.
        return withUnsafeTemporaryAllocation(of: Vector.self, capacity: 6 * width / Vector.lanes) { scratch in
            let tile = UnsafeMutableRawPointer(scratch.baseAddress!).assumingMemoryBound(to: Float.self)
            for row in stride(from: 0, to: rows, by: 6) {
                let count = min(6, rows - row)
                multiplyPanel(
                    a.from(row: row), panel, width: width, to: tile, stride: width, rows: count, columns: width,
                    depth: depth, accumulate: false)
                for i in 0..<count {
                    let target = c + (row + i) * cStride
                    for j in 0..<columns {
                        target[j] = accumulate ? target[j] + tile[i * width + j] : tile[i * width + j]
                    }
                }
            }
        }
    }
    switch width {
    #if AVX512
        case 64: multiplyPanel(Columns64.self, a, panel, next, c, cStride, rows, depth, accumulate)
        case 48: multiplyPanel(Columns48.self, a, panel, next, c, cStride, rows, depth, accumulate)
        case 32: multiplyPanel(Columns32.self, a, panel, next, c, cStride, rows, depth, accumulate)
    #endif
    default: multiplyPanel(Columns16.self, a, panel, next, c, cStride, rows, depth, accumulate)
    }
}

@inline(__always)
private func multiplyPanel<Columns: TileRow>(
    _: Columns.Type, _ a: LeftMatrix, _ panel: UnsafePointer<Float>, _ next: Upcoming?,
    _ c: UnsafeMutablePointer<Float>, _ cStride: Int, _ rows: Int, _ depth: Int, _ accumulate: Bool
) {
    var (row, next) = (0, next)
    @inline(__always) func multiply<T: Tile>(_: T.Type) where T.Row == Columns {
        multiplyTile(T.self, a.from(row: row), panel, next, c + row * cStride, cStride, depth, accumulate)
        row += T.rows
        next = next?.afterTile
    }
    while row < rows {
        switch rows - row {
        case 6...: multiply(SixRows<Columns>.self)
        case 4...: multiply(FourRows<Columns>.self)
        case 2...: multiply(TwoRows<Columns>.self)
        default: multiply(Columns.self)
        }
    }
}

@inline(__always)
private func multiplyTile<T: Tile>(
    _: T.Type, _ a: LeftMatrix, _ panel: UnsafePointer<Float>, _ next: Upcoming?,
    _ c: UnsafeMutablePointer<Float>, _ cStride: Int, _ depth: Int, _ accumulate: Bool
) {
    var tile = T(zero: ())
    var (left, right, line) = (a.base, panel, next?.firstLine)
    let lineStride = next?.lineStride ?? 0
    @inline(__always) func add(_ steps: Int, rowStride: Int, depthStride: Int) {
        if let ahead = line {
            for step in 0..<steps { fetch(ahead + step * lineStride) }
            line = ahead + steps * lineStride
        }
        for step in 0..<steps {
            tile.add(left + step * depthStride, rowStride, T.Row(at: right + step * T.Row.width))
        }
        left += steps * depthStride
        right += steps * T.Row.width
    }
    @inline(__always) func addAll(rowStride: Int, depthStride: Int) {
        for _ in 0..<depth / 4 { add(4, rowStride: rowStride, depthStride: depthStride) }
        for _ in 0..<depth % 4 { add(1, rowStride: rowStride, depthStride: depthStride) }
    }
    // A processor that multiplies twice a cycle begins four to six instructions in it, so those that only move pointers
    // cost time. With four steps at a time, and one stride known to be 1, the compiler writes most moves into the loads.
    switch a.order {
    case .rows: addAll(rowStride: a.stride, depthStride: 1)
    case .columns: addAll(rowStride: 1, depthStride: a.stride)
    }
    tile.store(to: c, cStride, adding: accumulate)
}

/// A tile of C in registers.
private protocol Tile {
    associatedtype Row: TileRow
    static var rows: Int { get }
    init(zero: ())
    /// Adds the product of a column of A and a row of B.
    mutating func add(_ a: UnsafePointer<Float>, _ rowStride: Int, _ b: Row)
    func store(to c: UnsafeMutablePointer<Float>, _ stride: Int, adding: Bool)
}

/// One row of a tile, itself the lowest tile there is. Rows and tiles are nested structures of vectors, not arrays:
/// only so does the compiler keep them in registers.
private protocol TileRow: Tile where Row == Self {
    static var width: Int { get }
    init(at: UnsafePointer<Float>)
    mutating func add(_ a: Float, _ b: Self)
    func store(to c: UnsafeMutablePointer<Float>, adding: Bool)
}

extension TileRow {
    static var rows: Int { 1 }

    @inline(__always)
    mutating func add(_ a: UnsafePointer<Float>, _ rowStride: Int, _ b: Self) { add(a.pointee, b) }

    @inline(__always)
    func store(to c: UnsafeMutablePointer<Float>, _ stride: Int, adding: Bool) { store(to: c, adding: adding) }
}

private struct Columns16: TileRow {
    var vector: Vector
    static var width: Int { Vector.lanes }

    @inline(__always) init(zero: ()) { vector = .zero }
    @inline(__always) init(at source: UnsafePointer<Float>) { vector = Vector(at: source) }
    @inline(__always) mutating func add(_ a: Float, _ b: Self) { vector = vector.adding(a, b.vector) }
    @inline(__always) func store(to c: UnsafeMutablePointer<Float>, adding: Bool) {
        (adding ? Vector(at: c) + vector : vector).store(to: c)
    }
}

/// Two row pieces side by side.
private struct Beside<Left: TileRow, Right: TileRow>: TileRow {
    var left: Left
    var right: Right
    static var width: Int { Left.width + Right.width }

    @inline(__always) init(zero: ()) { (left, right) = (Left(zero: ()), Right(zero: ())) }
    @inline(__always) init(at source: UnsafePointer<Float>) {
        (left, right) = (Left(at: source), Right(at: source + Left.width))
    }
    @inline(__always) mutating func add(_ a: Float, _ b: Self) {
        left.add(a, b.left)
        right.add(a, b.right)
    }
    @inline(__always) func store(to c: UnsafeMutablePointer<Float>, adding: Bool) {
        left.store(to: c, adding: adding)
        right.store(to: c + Left.width, adding: adding)
    }
}

/// Two tiles one above the other.
private struct Above<Top: Tile, Bottom: Tile>: Tile where Top.Row == Bottom.Row {
    var top: Top
    var bottom: Bottom
    static var rows: Int { Top.rows + Bottom.rows }

    @inline(__always) init(zero: ()) { (top, bottom) = (Top(zero: ()), Bottom(zero: ())) }
    @inline(__always) mutating func add(_ a: UnsafePointer<Float>, _ rowStride: Int, _ b: Top.Row) {
        top.add(a, rowStride, b)
        bottom.add(a + Top.rows * rowStride, rowStride, b)
    }
    @inline(__always) func store(to c: UnsafeMutablePointer<Float>, _ stride: Int, adding: Bool) {
        top.store(to: c, stride, adding: adding)
        bottom.store(to: c + Top.rows * stride, stride, adding: adding)
    }
}

private typealias Columns32 = Beside<Columns16, Columns16>
private typealias Columns48 = Beside<Columns32, Columns16>
private typealias Columns64 = Beside<Columns32, Columns32>
private typealias TwoRows<Columns: TileRow> = Above<Columns, Columns>
private typealias FourRows<Columns: TileRow> = Above<TwoRows<Columns>, TwoRows<Columns>>
private typealias SixRows<Columns: TileRow> = Above<FourRows<Columns>, TwoRows<Columns>>
