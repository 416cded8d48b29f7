// Batch normalisation and ReLU where a map is read.
//
// A convolution's output that only convolutions and max pooling read is never normalised in memory: they apply scale,
// shift and ReLU to the values they load, which costs little beside what they do with them, and spares a pass that
// reads one map and writes another, and the other map.

/// z = max(scale · y + shift, 0) for each channel, which readers of y apply. What lies around a map stays zero.
public struct Activation {
    let scale: UnsafePointer<Float>
    let shift: UnsafePointer<Float>

    /// `scale` and `shift` have a value for each channel.
    public init(scale: UnsafePointer<Float>, shift: UnsafePointer<Float>) {
        (self.scale, self.shift) = (scale, shift)
    }

    /// That of some channels.
    func slice(_ channels: Range<Int>) -> Activation {
        Activation(scale: scale + channels.lowerBound, shift: shift + channels.lowerBound)
    }

    /// That of `count` channels, in registers.
    @inline(__always)
    func lanes<V: Lanes>(_: V.Type, channel: Int, count: Int) -> ActivationLanes<V> {
        ActivationLanes(scale: V(at: scale + channel, count: count), shift: V(at: shift + channel, count: count))
    }
}

/// An activation of some neighbouring channels.
struct ActivationLanes<V: Lanes> {
    let scale: V
    let shift: V

    /// Before ReLU.
    @inline(__always)
    func normalized(_ y: V) -> V { shift.addingProduct(y, scale) }

    @inline(__always)
    func callAsFunction(_ y: V) -> V { normalized(y).rectified }
}

/// How a map's values are read: through an activation, or as they lie. A type, so that loops are compiled for each.
protocol Reading {
    associatedtype Values: ValueReading
    func lanes(channel: Int, count: Int) -> Values
}

/// What becomes of a vector of them.
protocol ValueReading {
    func callAsFunction(_ y: Vector) -> Vector
}

extension Activation: Reading {
    @inline(__always)
    func lanes(channel: Int, count: Int) -> ActivationLanes<Vector> {
        lanes(Vector.self, channel: channel, count: count)
    }
}

extension ActivationLanes: ValueReading where V == Vector {}

struct PlainReading: Reading, ValueReading {
    @inline(__always)
    func lanes(channel: Int, count: Int) -> Self { self }

    @inline(__always)
    func callAsFunction(_ y: Vector) -> Vector { y }
}
