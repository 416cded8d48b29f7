import Foundation
import PLPKernels
import Synchronization
import Testing

/// Counts how often each index came, and whether two calls ever shared a worker.
private final class Record: Sendable {
    private let counts: Mutex<[Int]>
    private let busy = Mutex<Set<Int>>([])
    private let clash = Atomic<Bool>(false)

    init(_ count: Int) { counts = Mutex(Array(repeating: 0, count: count)) }

    func call(_ index: Int, _ worker: Int, _ body: () -> Void = {}) {
        if !busy.withLock({ $0.insert(worker).inserted }) { clash.store(true, ordering: .relaxed) }
        counts.withLock { $0[index] += 1 }
        body()
        _ = busy.withLock { $0.remove(worker) }
    }

    var isOnceEach: Bool { counts.withLock { $0.allSatisfy { $0 == 1 } } && !clash.load(ordering: .relaxed) }
}

private func threadsOfProcess() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count
}

@Suite struct ThreadsTests {
    @Test(arguments: [1, 2, 3, 8])
    func eachIndexOnceAndWorkersApart(count: Int) {
        let threads = Threads(count, processors: count)
        for indices in [0, 1, 2, 7, 100] {
            for _ in 0..<200 {
                let record = Record(indices)
                threads.forEach(indices) { index, worker in
                    #expect(worker < count)
                    record.call(index, worker)
                }
                #expect(record.isOnceEach)
            }
        }
    }

    /// Helpers sleep after a while without work: loops come shortly before, at, and long after that moment.
    @Test func helpersThatSleepAreWoken() {
        let threads = Threads(3, processors: 3)
        for pause in 0..<300 {
            usleep(UInt32(pause))
            let record = Record(3)
            threads.forEach(3) { index, worker in record.call(index, worker) { usleep(20) } }
            #expect(record.isOnceEach)
        }
    }

    /// Each worker begins with a share of its own, the same in every loop; sweeps begin at one end of it or the other.
    @Test(arguments: [2, 5, 100])
    func workersBeginWithTheirShares(count: Int) {
        let threads = Threads(2, processors: 2)
        func firsts(_ loop: (_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) -> Void) -> [Int: Int] {
            let firsts = Mutex<[Int: Int]>([:])
            loop(count) { index, worker in
                firsts.withLock { if $0[worker] == nil { $0[worker] = index } }
                while firsts.withLock({ $0.count }) < 2 { usleep(10) }
            }
            return firsts.withLock { $0 }
        }
        for _ in 0..<50 {
            #expect(firsts(threads.forEach) == [0: 0, 1: count / 2])
            threads.noteForwardSweep()
            #expect(firsts(threads.sweep) == [0: count / 2 - 1, 1: count - 1])
            #expect(firsts(threads.sweep) == [0: 0, 1: count / 2])
        }
    }

    /// Blocks that take long are shared: two that each wait for the other to begin end only on two threads.
    @Test func threadsWorkAtTheSameTime() {
        let begun = Atomic<Int>(0)
        Threads(2, processors: 2).forEach(2) { _ in
            begun.add(1, ordering: .relaxed)
            while begun.load(ordering: .relaxed) < 2 { usleep(10) }
        }
        #expect(begun.load(ordering: .relaxed) == 2)
    }

    @Test func noMoreThreadsThanProcessors() {
        #expect(Threads(16, processors: 2).count == 2 && Threads(2, processors: 16).count == 2)
        #expect((1...ProcessInfo.processInfo.processorCount).contains(Threads().count))
    }

    @Test func loopsWithinLoops() {
        let threads = Threads(3, processors: 3)
        let outer = Record(5)
        threads.forEach(5) { index, worker in
            let inner = Record(4)
            outer.call(index, worker) { threads.forEach(4) { inner.call($0, $1) } }
            #expect(inner.isOnceEach)
        }
        #expect(outer.isOnceEach)
    }

    @Test func loopsOfSeveralCallers() {
        let threads = Threads(2, processors: 2)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for _ in 0..<500 {
                let record = Record(10)
                threads.forEach(10) { record.call($0, $1) }
                #expect(record.isOnceEach)
            }
        }
    }

    @Test func sweepsGoBackAndForth() {
        let threads = Threads(1)
        var order: [Int] = []
        func sweep() -> [Int] {
            order = []
            threads.sweep(3) { order.append($0) }
            return order
        }
        #expect(sweep() == [0, 1, 2])
        #expect(sweep() == [2, 1, 0])
        #expect(sweep() == [0, 1, 2])
        threads.noteForwardSweep()
        #expect(sweep() == [2, 1, 0])
        threads.noteForwardSweep()
        #expect(sweep() == [2, 1, 0])
    }

    @Test(arguments: [2, 3]) func sweepsGoToEachIndexOnce(count: Int) {
        let threads = Threads(count, processors: count)
        for _ in 0..<50 {
            let record = Record(20)
            threads.sweep(20) { record.call($0, $1) }
            #expect(record.isOnceEach)
        }
    }

    /// Orders of all kinds, from steps that need none to steps that need all before them.
    @Test(arguments: [1, 2, 5, 8], [0.0, 0.1, 0.5, 1.0])
    func eachStepAfterThoseItNeeds(count: Int, density: Double) {
        let threads = Threads(count, processors: count)
        for _ in 0..<50 {
            let order = Order(count: 30) { _, _ in .random(in: 0..<1) < density }
            let steps = Record(30)
            let ended = Mutex<Set<Int>>([])
            let running = Mutex<[Bool: Int]>([:])
            // What both loops' bodies must not share.
            let workers = Mutex<Set<Int>>([])
            threads.forEach(in: order) { step, threads, isSecond in
                #expect(count > 4 || !isSecond)
                #expect(ended.withLock { $0.isSuperset(of: order.needed[step]) })
                #expect(running.withLock { $0.updateValue(step, forKey: isSecond) } == nil)
                steps.call(step, isSecond ? 1 : 0)
                let parts = Record(7)
                threads.forEach(7) { part, worker in
                    #expect(worker < count && workers.withLock { $0.insert(worker).inserted })
                    parts.call(part, worker)
                    _ = workers.withLock { $0.remove(worker) }
                }
                #expect(parts.isOnceEach)
                running.withLock { $0[isSecond] = nil }
                _ = ended.withLock { $0.insert(step) }
            }
            #expect(steps.isOnceEach)
        }
    }

    /// Steps that wait for each other to begin end only where they run at the same time.
    @Test func twoStepsAtTheSameTime() {
        let begun = Atomic<Int>(0)
        Threads(5, processors: 5).forEach(in: Order(count: 2) { _, _ in false }) { _, _, _ in
            begun.add(1, ordering: .relaxed)
            while begun.load(ordering: .relaxed) < 2 { usleep(10) }
        }
    }

    /// A loop whose parts wait for each other to begin ends only if all work on it: those that have no step, too.
    @Test(arguments: [2, 5, 8]) func whoHasNoStepHelps(count: Int) {
        let threads = Threads(count, processors: count)
        for _ in 0..<20 {
            threads.forEach(in: Order(count: 3) { $1 == $0 - 1 }) { _, threads, _ in
                let begun = Atomic<Int>(0)
                threads.forEach(count) { _ in
                    begun.add(1, ordering: .relaxed)
                    while begun.load(ordering: .relaxed) < count { usleep(10) }
                }
            }
        }
    }

    /// Who led or helped is gone when the call returns, with what it was called with: the checked build ends where not.
    @Test(arguments: [2, 5]) func nobodyIsLeftBehind(count: Int) {
        let threads = Threads(count, processors: count)
        let orders = [Order(count: 2) { _, _ in false }, Order(count: 3) { $1 == $0 - 1 }]
        for round in 0..<20_000 {
            threads.forEach(in: orders[round % 2]) { _, threads, _ in threads.forEach(3) { _ in } }
        }
    }

    /// Within a loop or a step, and beside another thread's, orders have one thread.
    @Test func ordersWithinAndBesideOthers() {
        let threads = Threads(5, processors: 5)
        let order = Order(count: 6) { step, earlier in earlier % 2 == 0 && step == earlier + 1 }
        @Sendable func run() {
            let steps = Record(6)
            threads.forEach(in: order) { step, threads, isSecond in
                steps.call(step, isSecond ? 1 : 0) { threads.forEach(4) { _ in } }
            }
            #expect(steps.isOnceEach)
        }
        threads.forEach(5) { _ in run() }
        threads.forEach(in: order) { _, _, _ in run() }
        DispatchQueue.concurrentPerform(iterations: 4) { _ in for _ in 0..<200 { run() } }
    }

    @Test func helpersEndWithTheirThreads() throws {
        for _ in 0..<2_000 { Threads(8, processors: 8).forEach(8) { _ in } }
        for _ in 0..<1_000 where try threadsOfProcess() > 2_000 { usleep(1_000) }
        #expect(try threadsOfProcess() <= 2_000)  // of 14,000; other tests have theirs
    }
}
