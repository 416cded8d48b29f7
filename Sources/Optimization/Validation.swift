// How options are checked: one sentence that names the option, what was found and what was expected.

import Kernels

/// Throws unless `condition` holds: "learning rate: found -0.1, expected a number from 0 to 1000".
package func require(
    _ condition: Bool, _ option: String, _ found: Any, expected: @autoclosure () -> String
) throws(Failure) {
    guard condition else {
        throw Failure(.invalidArgument, "\(option): found \(found), expected \(expected())")
    }
}

/// Throws unless `value` is a number in `range`, which NaN and the infinities never are.
package func require(_ option: String, _ value: Double, in range: ClosedRange<Double>) throws(Failure) {
    func text(_ bound: Double) -> String { Int(exactly: bound).map(String.init) ?? String(bound) }
    try require(
        range.contains(value), option, value,
        expected: "a number from \(text(range.lowerBound)) to \(text(range.upperBound))")
}

/// Throws unless `value` lies in `range`.
package func require(_ option: String, _ value: Int, in range: ClosedRange<Int>) throws(Failure) {
    try require(
        range.contains(value), option, value,
        expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
}

/// The largest number of iterations or epochs an option may name.
package let largestCount = 1_000_000_000
