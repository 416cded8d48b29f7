// What keeps libplp.so loadable by older C libraries than the one it is linked with.

/// Swift's module of the C library refers to this, though nothing here calls it; that of glibc 2.35 would be the only
/// symbol newer than 2.34, Enterprise Linux 9's. No overflow: the squares of floats are doubles.
@c(hypotf)
func hypotenuse(_ x: Float, _ y: Float) -> Float {
    if x.isInfinite || y.isInfinite { return .infinity }
    return Float((Double(x) * Double(x) + Double(y) * Double(y)).squareRoot())
}
