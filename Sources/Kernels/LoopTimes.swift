// How long each part of each parallel loop takes, on one thread: from that, Benchmarks/scaling.py says how long a step
// would take on many. Part of builds with PLP_LOOP_TIMES=1 only; in others there is nothing of it.

#if LOOP_TIMES
    import PLPBase

    /// What a step does, in the order it does it, with the shortest times seen since the recording began: other
    /// programs on the machine can only make them longer.
    public final class LoopTimes {
        public struct Loop: Codable {
            /// Seconds of each part, by its index.
            public var parts: [Double]
            /// Whether workers take the parts of their shares from last to first.
            public var isBackward: Bool
        }

        /// One layer's operation.
        public struct Section: Codable {
            public var layer: String
            public var operation: String
            /// The numbers of the sections that have to end before; nil for one that has all before it to end, and ends
            /// before all behind it.
            public var needs: [Int]?
            public var loops: [Loop] = []
            /// Seconds outside of loops.
            public var serial = Double.infinity
        }

        /// Records what is computed while it is here, by one thread on a `Threads(1)`.
        nonisolated(unsafe) public static var current: LoopTimes?

        public private(set) var sections: [Section] = []
        /// Where in the step it is.
        private var (section, loop, depth) = (-1, 0, 0)
        private var (serial, last) = (0.0, 0.0)

        public init() {}

        /// Begins a step; all steps have to do the same.
        public func beginStep() {
            section = -1
            begin("step", "before the first layer", needs: nil)
        }

        public func endStep() { endSection() }

        /// Says what the loops that follow belong to, and which sections it needs, counted back from this one.
        public func begin(_ layer: String, _ operation: String, needs: [Int]?) {
            if section >= 0 { endSection() }
            section += 1
            if section == sections.count {
                let needs = needs?.map { section - $0 }
                sections.append(Section(layer: layer, operation: operation, needs: needs))
            }
            (loop, serial, last) = (0, 0, now())
        }

        private func endSection() {
            serial += now() - last
            sections[section].serial = min(sections[section].serial, serial)
        }

        /// Runs a loop and notes how long each part takes. A loop within a part is part of it.
        @inline(__always)
        func record(_ count: Int, backward: Bool, _ body: (_ index: Int) -> Void) {
            let isOutermost = depth == 0
            if isOutermost { beginLoop(count, backward) }
            depth += 1
            for place in 0..<count {
                let index = backward ? count - 1 - place : place
                body(index)
                if isOutermost { endPart(index) }
            }
            depth -= 1
            if isOutermost { loop += 1 }
        }

        private func beginLoop(_ count: Int, _ backward: Bool) {
            let time = now()
            serial += time - last
            if loop == sections[section].loops.count {
                let parts = Array(repeating: Double.infinity, count: count)
                sections[section].loops.append(Loop(parts: parts, isBackward: backward))
            }
            sections[section].loops[loop].isBackward = backward
            last = now()
        }

        private func endPart(_ index: Int) {
            let time = now()
            let seconds = time - last
            sections[section].loops[loop].parts.withUnsafeMutableBufferPointer {
                $0[index] = min($0[index], seconds)
            }
            last = now()
        }
    }
#endif
