// How options and sizes are checked: one sentence that names the thing, what was found and what was expected.

/// Throws unless `condition` holds: "learning rate: found -0.1, expected a number from 0 to 1000".
package func require(
    _ condition: Bool, _ name: String, _ found: Any, expected: @autoclosure () -> String
) throws(Failure) {
    guard condition else { throw Failure(.invalidArgument, "\(name): found \(excerpt(found)), expected \(expected())") }
}

/// Throws unless `value` is a number in `range`, which NaN and the infinities never are.
package func require(_ name: String, _ value: Double, in range: ClosedRange<Double>) throws(Failure) {
    func text(_ bound: Double) -> String { Int(exactly: bound).map(String.init) ?? String(bound) }
    try require(
        range.contains(value), name, value,
        expected: "a number from \(text(range.lowerBound)) to \(text(range.upperBound))")
}

/// Throws unless `value` lies in `range`.
package func require(_ name: String, _ value: Int, in range: ClosedRange<Int>) throws(Failure) {
    try require(
        range.contains(value), name, value,
        expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
}

/// 50000 as "50,000".
package func grouped(_ number: Int) -> String {
    var digits = String(number.magnitude)
    for position in stride(from: digits.count - 3, to: 0, by: -3) {
        digits.insert(",", at: digits.index(digits.startIndex, offsetBy: position))
    }
    return (number < 0 ? "-" : "") + digits
}

/// What was found, for a message: a line of it at most.
package func excerpt(_ found: Any) -> String {
    let text = "\(found)"
    let most = 200
    let start = String(text.unicodeScalars.prefix(most))
    return printable(start, isOneLine: true) + (text.unicodeScalars.dropFirst(most).isEmpty ? "" : "…")
}

/// Text in which no character commands a terminal, nor hides itself or others: such are escaped, ends of lines only
/// where it is to be one.
package func printable(_ text: String, isOneLine: Bool = false) -> String {
    text.unicodeScalars.reduce(into: "") { text, scalar in
        switch scalar.properties.generalCategory {
        case .control where scalar == "\n" && !isOneLine: text += "\n"
        case .control, .format, .lineSeparator, .paragraphSeparator: text += scalar.escaped(asASCII: true)
        default: text.unicodeScalars.append(scalar)
        }
    }
}
