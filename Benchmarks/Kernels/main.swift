// Times the convolutions of the three networks, each pass, beside what the processor can do at the same moment.
//
//     swift run -c release KernelBenchmark [--threads n] [--rounds n] [--batch n] [--processor-time]
//         [text in a layer's name …]
//
// The peak is a loop of multiply-adds on registers, on as many threads. Neighbours and temperature change it from second
// to second: it is measured right before and right after each pass, which is compared with the mean of the two.
// With --processor-time it counts the time that all threads together computed, which says more on a busy machine.

import Foundation
import PLPBase
import PLPKernels

struct Layer {
    var network: String
    var shape: ConvolutionShape
    /// How many such layers the network has.
    var count: Int

    init(
        _ network: String, _ size: Int, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1, count: Int = 1
    ) {
        self.network = network
        self.count = count
        shape = ConvolutionShape(
            images: 1, height: size, width: size, inputChannels: inputs, outputChannels: outputs, kernel: kernel,
            stride: stride, padding: kernel / 2)
    }

    var name: String {
        "\(network) \(shape.height)x\(shape.width) \(shape.inputChannels)-\(shape.outputChannels) "
            + "k\(shape.kernel)s\(shape.stride)"
    }
}

/// The first block of a ResNet stage halves the map and doubles the channels.
func stage(_ size: Int, _ channels: Int) -> [Layer] {
    [
        Layer("resnet18", size, channels, 2 * channels, stride: 2),
        Layer("resnet18", size / 2, 2 * channels, 2 * channels, count: 3),
        Layer("resnet18", size, channels, 2 * channels, kernel: 1, stride: 2),
    ]
}

let resNet: [Layer] =
    [Layer("resnet18", 32, 3, 64), Layer("resnet18", 32, 64, 64, count: 4)]
    + stage(32, 64) + stage(16, 128) + stage(8, 256)

let vgg: [Layer] = [
    Layer("vgg16", 32, 3, 64), Layer("vgg16", 32, 64, 64), Layer("vgg16", 16, 64, 128), Layer("vgg16", 16, 128, 128),
    Layer("vgg16", 8, 128, 256), Layer("vgg16", 8, 256, 256, count: 2), Layer("vgg16", 4, 256, 512),
    Layer("vgg16", 4, 512, 512, count: 2), Layer("vgg16", 2, 512, 512, count: 3),
]

/// The convolutions of an inception block: 1×1, 1×1 before 3×3, 1×1 before twice 3×3, 1×1 after pooling.
func inception(
    _ size: Int, _ inputs: Int, _ one: Int, _ three: (Int, Int), _ five: (Int, Int), _ pool: Int
) -> [Layer] {
    [one + three.0 + five.0, pool].map { Layer("googlenet", size, inputs, $0, kernel: 1) }
        + [
            Layer("googlenet", size, three.0, three.1), Layer("googlenet", size, five.0, five.1),
            Layer("googlenet", size, five.1, five.1),
        ]
}

var googLeNet = [Layer("googlenet", 32, 3, 64), Layer("googlenet", 32, 64, 64), Layer("googlenet", 32, 64, 192)]
googLeNet += inception(16, 192, 64, (96, 128), (16, 32), 32)
googLeNet += inception(16, 256, 128, (128, 192), (32, 96), 64)
googLeNet += inception(8, 480, 192, (96, 208), (16, 48), 64)
googLeNet += inception(8, 512, 160, (112, 224), (24, 64), 64)
googLeNet += inception(8, 512, 128, (128, 256), (24, 64), 64)
googLeNet += inception(8, 512, 112, (144, 288), (32, 64), 64)
googLeNet += inception(8, 528, 256, (160, 320), (32, 128), 128)
googLeNet += inception(4, 832, 256, (160, 320), (32, 128), 128)
googLeNet += inception(4, 832, 384, (192, 384), (48, 128), 128)

/// What the command was given.
struct Options {
    var rounds = 7
    var batchSize = 128
    var threads = 0
    var processorTime = false
    var texts: [String] = []

    init(_ arguments: some Sequence<String>) {
        var arguments = arguments.makeIterator()
        func number(after option: String) -> Int {
            guard let value = arguments.next().flatMap({ Int($0) }), value > 0 else {
                refuse("\(option): expected a whole number above 0")
            }
            return value
        }
        while let argument = arguments.next() {
            switch argument {
            case "--threads": threads = number(after: argument)
            case "--rounds": rounds = number(after: argument)
            case "--batch": batchSize = number(after: argument)
            case "--processor-time": processorTime = true
            case _ where argument.hasPrefix("-"): refuse("there is no option \(argument)")
            default: texts.append(argument)
            }
        }
    }
}

func refuse(_ message: String) -> Never {
    FileHandle.standardError.write(Data("KernelBenchmark: \(message)\n".utf8))
    exit(2)
}

let options = Options(CommandLine.arguments.dropFirst())
let threads = Threads(options.threads)

func seconds(_ body: () -> Void) -> Double {
    let clock = options.processorTime ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC
    func now() -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
    let start = now()
    body()
    return now() - start
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

/// What fits one register.
#if AVX512
    typealias Register = SIMD16<Float>
#else
    typealias Register = SIMD8<Float>
#endif

/// Multiply-adds on twelve registers, more than their latency asks for. Returns operations a second over all threads.
func measurePeak() throws -> Double {
    let steps = 1_000_000
    let results = try FloatBuffer(count: threads.count)
    let time = seconds {
        threads.forEach(threads.count) { index, _ in
            let (a, b) = (Register(repeating: 0.999), Register(repeating: Float(index)))
            var (s0, s1, s2, s3, s4, s5) = (b, b, b, b, b, b)
            var (t0, t1, t2, t3, t4, t5) = (b, b, b, b, b, b)
            for _ in 0..<steps {
                (s0, s1, s2) = (b.addingProduct(s0, a), b.addingProduct(s1, a), b.addingProduct(s2, a))
                (s3, s4, s5) = (b.addingProduct(s3, a), b.addingProduct(s4, a), b.addingProduct(s5, a))
                (t0, t1, t2) = (b.addingProduct(t0, a), b.addingProduct(t1, a), b.addingProduct(t2, a))
                (t3, t4, t5) = (b.addingProduct(t3, a), b.addingProduct(t4, a), b.addingProduct(t5, a))
            }
            results.pointer[index] = (s0 + s1 + s2 + s3 + s4 + s5 + t0 + t1 + t2 + t3 + t4 + t5).sum()
        }
    }
    return Double(threads.count * steps * 12 * Register.scalarCount * 2) / time
}

/// A batch of maps in memory of their own.
struct Batch {
    var height, width, channels: Int
    let buffer: FloatBuffer

    init(_ height: Int, _ width: Int, _ channels: Int) throws {
        (self.height, self.width, self.channels) = (height, width, channels)
        buffer = try FloatBuffer(count: options.batchSize * height * width * channels)
        for index in buffer.values.indices { buffer.pointer[index] = Float(index % 17) - 8 }
    }

    /// Made where it is used, so that whoever computes on it holds the buffer too.
    var maps: Maps { Maps(buffer.pointer, count: options.batchSize, height: height, width: width, channels: channels) }
}

/// A layer's passes over memory of its own: forward, input gradient (none by images), weight gradient.
func passes(of layer: Layer) throws -> [(() -> Void)?] {
    var shape = layer.shape
    shape.images = options.batchSize
    let convolution = Convolution(shape)
    let x = try Batch(shape.height, shape.width, shape.inputChannels)
    let y = try Batch(shape.outputHeight, shape.outputWidth, shape.outputChannels)
    let dy = try Batch(shape.outputHeight, shape.outputWidth, shape.outputChannels)
    let dx = try Batch(shape.height, shape.width, shape.inputChannels)
    let (w, dw) = (try FloatBuffer(count: shape.weightCount), try FloatBuffer(count: shape.weightCount))
    for index in w.values.indices { w.pointer[index] = Float(index % 13) / 13 - 0.5 }
    let needed = convolution.workspaceCounts(threads: threads)
    let workspace = try FloatBuffer(count: max(needed.forward, needed.gradient))
    return [
        {
            convolution.forward(
                x.maps, weights: w.pointer, to: y.maps, workspace: workspace.pointer, threads: threads)
        },
        shape.inputChannels == 3
            ? nil
            : {
                convolution.inputGradient(
                    dy.maps, weights: w.pointer, to: dx.maps, workspace: workspace.pointer, threads: threads)
            },
        {
            convolution.weightGradient(
                x.maps, dy.maps, to: dw.pointer, workspace: workspace.pointer, threads: threads)
        },
    ]
}

/// What the rounds gave for one pass: its seconds, and its operations a second as a share of the peak beside it.
struct Measurement {
    var seconds: [Double] = []
    var shares: [Double] = []
}

/// Measures the passes in turns; adds the peaks between them to `peaks`. The first round only warms up.
func measure(_ passes: [(() -> Void)?], operations: Int, peaks: inout [Double]) throws -> [Measurement?] {
    var results = passes.map { $0.map { _ in Measurement() } }
    for round in 0...options.rounds {
        var before = try measurePeak()
        for (index, pass) in passes.enumerated() {
            guard let pass else { continue }
            let time = seconds(pass)
            let after = try measurePeak()
            if round > 0 {
                results[index]?.seconds.append(time)
                results[index]?.shares.append(Double(operations) / time / ((before + after) / 2))
                peaks.append(after)
            }
            before = after
        }
    }
    return results
}

func column(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
func number(_ value: Double, _ digits: Int, _ width: Int) -> String {
    column(String(format: "%.\(digits)f", value), width)
}

func printHeader() {
    let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
    let model = text?.split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":").last
    let processor = model?.trimmingCharacters(in: .whitespaces) ?? "unknown processor"
    print(
        """
        \(Date.now.formatted(.iso8601.year().month().day())), \(processor), \(Build.vectors), \(threads.count) threads, \
        batch \(options.batchSize), \(options.rounds) rounds\(options.processorTime ? ", processor time" : "")

        Milliseconds of forward pass, input gradient and weight gradient, each with its share of the peak: operations of
        the direct convolution a second, divided by what the processor reached on registers right before and after.
        Winograd's algorithm does up to four times fewer than are counted: a share may exceed 1. At the end of a line
        that peak in GFLOP/s. All are medians of the rounds.

        """)
}

printHeader()
var totals: [String: [Double]] = [:]
let (layers, texts) = (resNet + vgg + googLeNet, options.texts)
for layer in layers where texts.isEmpty || texts.contains(where: layer.name.contains) {
    var peaks: [Double] = []
    let operations = options.batchSize * layer.shape.operations
    let measured = try measure(passes(of: layer), operations: operations, peaks: &peaks)
    let milliseconds = measured.map { $0.map { median($0.seconds) * 1e3 } ?? 0 }
    var line = layer.name.padding(toLength: 34, withPad: " ", startingAt: 0) + "×\(layer.count)"
    for (time, result) in zip(milliseconds, measured) {
        line += result.map { number(time, 2, 9) + column("(\(number(median($0.shares), 2, 0)))", 7) } ?? column("", 16)
    }
    print(line + number(median(peaks) * 1e-9, 0, 8))
    let sums = totals[layer.network] ?? [0, 0, 0]
    totals[layer.network] = zip(sums, milliseconds).map { $0 + Double(layer.count) * $1 }
}
for (network, sums) in totals.sorted(by: { $0.key < $1.key }) {
    print("\(network): \(sums.map { number($0, 0, 5) }.joined()) together \(number(sums.reduce(0, +), 0, 5)) ms")
}
