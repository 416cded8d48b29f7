// Models in files: safetensors with PyTorch's names and layouts, and the configuration in the metadata.

import FoundationEssentials
import PLPBase
import PLPKernels

extension Model {
    private static let configurationKey = "plp.configuration"
    private static let trainedOnKey = "plp.trained-on"

    /// Writes the state dictionary as safetensors, durably, with configuration and data set's name in its metadata.
    public func save(to path: String) throws(Failure) {
        let sources = entries.map { entry in
            entry.kind == .counter
                ? Safetensors.Source(.init(name: entry.name, shape: entry.shape, values: values(of: entry)))
                : source(entry, in: buffer(of: entry))
        }
        var metadata = [Self.configurationKey: try json(configuration)]
        metadata[Self.trainedOnKey] = trainedOn
        try Safetensors.write(sources, metadata: metadata, to: path)
    }

    /// Reads a model that `save(to:)` wrote.
    public convenience init(path: String) throws(Failure) {
        let file = try SafetensorsReader(path)
        guard let text = file.metadata[Self.configurationKey] else {
            throw Failure(
                .corrupt,
                "\(path): no \(Self.configurationKey) found in its metadata; to take a state dictionary from "
                    + "elsewhere, make a model and load it")
        }
        let configuration = try value(
            ModelConfiguration.self, json: Data(text.utf8), most: 100, name: "\(path): \(Self.configurationKey)")
        // Compared with what is in the file, however large a network it names, before memory is asked for.
        let graph: Graph
        let found: [(entry: StateEntry, index: Int)]
        do {
            try configuration.validate()
            graph = Graph(configuration)
            found = try Self.match(file.tensors.map { ($0.name, $0.shape, $0.type, $0.count) }, graph, configuration)
        } catch { throw Failure(.corrupt, "\(path): \(error.message)") }
        try self.init(configuration, graph)
        for (entry, index) in found {
            if entry.kind == .counter {
                batchesTracked[entry.offset] = try file.values(of: file.tensors[index], zero: 0)[0]
            } else {
                try read(entry, in: buffer(of: entry), from: file, file.tensors[index])
            }
        }
        trainedOn = file.metadata[Self.trainedOnKey]
    }

    /// A tensor for a file: the values of a parameter or statistic in a buffer arranged as this model's.
    package func source(_ entry: StateEntry, in buffer: FloatBuffer, prefix: String = "") -> Safetensors.Source {
        Safetensors.Source(name: prefix + entry.name, shape: entry.shape, type: entry.type) { (write) throws(Failure) in
            try entry.forEachPart { (part, memory) throws(Failure) in
                self.copyValues(of: entry, part, in: buffer, to: memory.baseAddress!)
                try write(UnsafeRawBufferPointer(memory))
            }
        }
    }

    /// Takes the values of a parameter or statistic from a file, in a buffer arranged as this model's.
    package func read(
        _ entry: StateEntry, in buffer: FloatBuffer, from file: SafetensorsReader, _ place: SafetensorsReader.Place
    ) throws(Failure) {
        try entry.forEachPart { (part, memory) throws(Failure) in
            try file.read(place, from: part.lowerBound, into: memory)
            self.setValues(of: entry, part, from: memory.baseAddress!, in: buffer)
        }
    }
}

extension StateEntry {
    /// Calls `body` with each part of the values in PyTorch's layout, and memory for it: what goes through files a part
    /// at a time takes little. A part is of whole output channels, of which many together fill cache lines of ours.
    fileprivate func forEachPart(
        _ body: (_ part: Range<Int>, _ memory: UnsafeMutableRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        let stride = MemoryLayout<Float>.stride
        let channel = count / (shape.first ?? 1)
        let size = max(1, (1 << 16) / channel) * channel
        let memory = try Bytes(count: min(size, count) * stride)
        defer { withExtendedLifetime(memory) {} }
        for start in Swift.stride(from: 0, to: count, by: size) {
            let part = start..<min(start + size, count)
            try body(part, UnsafeMutableRawBufferPointer(rebasing: memory.memory.prefix(part.count * stride)))
        }
    }
}
