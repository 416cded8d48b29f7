// The reader of pickles by itself, without the 30 MB that a data set's files have.

import PLPBase
import PLPDatasets

@c public func read_pickle(_ bytes: UnsafeRawPointer, _ count: Int) {
    _ = try? Pickle.read(UnsafeRawBufferPointer(start: bytes, count: count), path: "a file")
}
