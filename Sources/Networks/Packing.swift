// Places buffers in one arena so that those that never live at the same time share memory.

/// Buffers with lifetimes, to be laid into as little memory as is simple to find: largest first, each at the lowest
/// place that is free all through its life.
struct Packing<Name: Hashable> {
    private struct Buffer {
        var name: Name
        var count: Int
        var life: ClosedRange<Int>
    }

    private var buffers: [Buffer] = []

    /// Notes a buffer of `count` floats that is in use through the steps `life`.
    mutating func add(_ name: Name, count: Int, life: ClosedRange<Int>) {
        buffers.append(Buffer(name: name, count: count.roundedToLine, life: life))
    }

    /// Each buffer's place in the arena, and the arena's size, in floats.
    func place() -> (places: [Name: Range<Int>], count: Int) {
        var places: [Name: Range<Int>] = [:]
        var placed: [(life: ClosedRange<Int>, place: Range<Int>)] = []
        for buffer in buffers.sorted(by: { $0.count > $1.count }) {
            let neighbours = placed.filter { $0.life.overlaps(buffer.life) }.map { $0.place }
            var offset = 0
            for neighbour in neighbours.sorted(by: { $0.lowerBound < $1.lowerBound })
            where neighbour.lowerBound < offset + buffer.count {
                offset = max(offset, neighbour.upperBound)
            }
            places[buffer.name] = offset..<offset + buffer.count
            placed.append((buffer.life, places[buffer.name]!))
        }
        return (places, placed.map { $0.place.upperBound }.max() ?? 0)
    }
}
