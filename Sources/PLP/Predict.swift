// The bare formula.

import CPLP
import PLPTraining

@c @implementation
public func plp_predict(
    _ vectors: UnsafePointer<UnsafePointer<Float>?>?, _ coefficients: UnsafePointer<Double>?, _ vector_count: Int64,
    _ count: Int64, _ result: UnsafeMutablePointer<Float>?
) -> plp_status {
    attempt { () throws(Failure) in
        let vectorCount = try number(vector_count, "vector_count", in: 1...1000)
        let count = try number(count, "count", in: 0...Int.max / MemoryLayout<Float>.stride)
        let vectors = try present(vectors, "vectors")
        var iterates: [UnsafeBufferPointer<Float>] = []
        for index in 0..<vectorCount {
            iterates.append(UnsafeBufferPointer(start: try present(vectors[index], "vectors[\(index)]"), count: count))
        }
        try predict(
            iterates,
            coefficients: coefficients.map { Array(UnsafeBufferPointer(start: $0, count: vectorCount)) }
                ?? PLP.coefficients(step: PLP.paperStep),
            into: UnsafeMutableBufferPointer(start: try present(result, "result"), count: count))
    }
}
