// Places buffers in one arena so that those that never live at the same time share memory.

/// Buffers with lifetimes, to be laid into as little memory as is simple to find: largest first, each at the lowest place
/// that is free all through its life.
struct MemoryPlan {
    private struct Buffer {
        var count: Int
        var life: ClosedRange<Int>
    }

    private var buffers: [Buffer] = []

    /// Notes a buffer of `count` floats that is in use through the steps `life`, and gives its number.
    mutating func add(count: Int, life: ClosedRange<Int>) -> Int {
        buffers.append(Buffer(count: count.roundedToLine, life: life))
        return buffers.count - 1
    }

    /// Each buffer's offset in the arena, and the arena's size, in floats.
    func place() -> (offsets: [Int], count: Int) {
        var offsets = [Int](repeating: 0, count: buffers.count)
        var placed: [Int] = []
        for index in buffers.indices.sorted(by: { buffers[$0].count > buffers[$1].count }) {
            let buffer = buffers[index]
            let neighbours = placed.filter { buffers[$0].life.overlaps(buffer.life) }.sorted {
                offsets[$0] < offsets[$1]
            }
            var offset = 0
            for neighbour in neighbours where offsets[neighbour] < offset + buffer.count {
                offset = max(offset, offsets[neighbour] + buffers[neighbour].count)
            }
            offsets[index] = offset
            placed.append(index)
        }
        return (offsets, placed.reduce(0) { max($0, offsets[$1] + buffers[$1].count) })
    }
}
