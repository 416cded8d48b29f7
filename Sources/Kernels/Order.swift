// Steps of which some need others: what a forward or a backward pass is made of.

/// In which order steps may be done. They are numbered in an order that is right; another one is, too, if each step comes
/// after those that it needs.
public struct Order: Sendable {
    public let count: Int
    /// Of each step, which it needs, and which need it.
    public let needed: [[Int]]
    fileprivate let successors: [[Int]]

    /// - Parameter needs: whether a step needs an earlier one.
    public init(count: Int, needs: (_ step: Int, _ earlier: Int) -> Bool) {
        self.count = count
        needed = (0..<count).map { step in (0..<step).filter { needs(step, $0) } }
        var successors = Array(repeating: [Int](), count: count)
        for step in 0..<count {
            for earlier in needed[step] { successors[earlier].append(step) }
        }
        self.successors = successors
    }
}

/// How far an order's steps have come.
struct Progress {
    private let order: Order
    /// Of each step, how many of those it needs are not done.
    private var missing: [Int]
    private var isBegun: [Bool]
    /// Before this one all are begun.
    private var first = 0
    private var left: Int

    init(_ order: Order) {
        self.order = order
        missing = order.needed.map(\.count)
        isBegun = Array(repeating: false, count: order.count)
        left = order.count
    }

    var isDone: Bool { left == 0 }

    /// Begins the first step that is not begun and needs no more; nil if there is none at the moment. In the checked
    /// build it is any such step, so that a need shows itself that somebody has not told of.
    mutating func begin() -> Int? {
        while first < order.count, isBegun[first] { first += 1 }
        let steps = (first..<order.count).lazy.filter { [self] in !isBegun[$0] && missing[$0] == 0 }
        #if CHECKED
            let next = Array(steps).randomElement()
        #else
            let next = steps.first
        #endif
        if let next { isBegun[next] = true }
        return next
    }

    mutating func end(_ step: Int) {
        left -= 1
        for successor in order.successors[step] { missing[successor] -= 1 }
    }
}
