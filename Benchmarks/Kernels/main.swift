// Times the convolutions of the three networks, each pass, beside what the processor can do at the same moment.
//
//     swift run -c release KernelBenchmark [--threads n] [--rounds n] [--batch n] [--processor-time]
//         [text in a layer's name …]
//
// A line gives the median milliseconds of each pass, and how many operations of the direct convolution that is a
// second; Winograd's algorithm does up to four times fewer, so this may exceed the peak. The peak is measured between
// the passes, since neighbours and temperature change it: a loop of multiply-adds on registers, on as many threads.
// With --processor-time it counts the time that all threads together computed, which says more on a busy machine.

import Foundation
import Kernels

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

func seconds(_ body: () -> Void) -> Double {
    let clock = processorTime ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC
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

/// Multiply-adds on twelve registers, more than their latency asks for. Returns operations a second over all threads.
func measurePeak(_ threads: Threads) throws -> Double {
    let steps = 400_000
    let results = try FloatBuffer(count: threads.count)
    let time = seconds {
        threads.forEach(threads.count) { index, _ in
            let (a, b) = (SIMD16<Float>(repeating: 0.999), SIMD16<Float>(repeating: Float(index)))
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
    return Double(threads.count * steps * 12 * 16 * 2) / time
}

var (rounds, batch, threadCount, processorTime, texts) = (7, 128, 0, false, [String]())
var arguments = CommandLine.arguments.dropFirst()
while let argument = arguments.popFirst() {
    switch argument {
    case "--threads": threadCount = arguments.popFirst().flatMap { Int($0) } ?? 0
    case "--rounds": rounds = arguments.popFirst().flatMap { Int($0) } ?? rounds
    case "--batch": batch = arguments.popFirst().flatMap { Int($0) } ?? batch
    case "--processor-time": processorTime = true
    default: texts.append(argument)
    }
}
let threads = Threads(threadCount)
func column(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
func number(_ value: Double, _ digits: Int, _ width: Int) -> String {
    column(String(format: "%.\(digits)f", value), width)
}
print(
    "batch \(batch), \(threads.count) threads; ms (GFLOP/s) of forward, input gradient, weight gradient; peak GFLOP/s")
var totals: [String: [Double]] = [:]
for layer in resNet + vgg + googLeNet where texts.isEmpty || texts.contains(where: layer.name.contains) {
    var shape = layer.shape
    shape.images = batch
    let convolution = Convolution(shape, threads: threads)
    func maps(_ height: Int, _ width: Int, _ channels: Int) throws -> (FloatBuffer, Maps) {
        let buffer = try FloatBuffer(count: batch * height * width * channels)
        for index in buffer.values.indices { buffer.pointer[index] = Float(index % 17) - 8 }
        return (buffer, Maps(buffer.pointer, count: batch, height: height, width: width, channels: channels))
    }
    let (inputs, outputs) = (shape.inputChannels, shape.outputChannels)
    let (xs, x) = try maps(shape.height, shape.width, inputs)
    let (ys, y) = try maps(shape.outputHeight, shape.outputWidth, outputs)
    let (dys, dy) = try maps(shape.outputHeight, shape.outputWidth, outputs)
    let (dxs, dx) = try maps(shape.height, shape.width, inputs)
    let (w, dw) = (try FloatBuffer(count: shape.weightCount), try FloatBuffer(count: shape.weightCount))
    for index in w.values.indices { w.pointer[index] = Float(index % 13) / 13 - 0.5 }
    let workspace = try FloatBuffer(count: convolution.workspaceCount)
    var times: [[Double]] = [[], [], []]
    var peaks: [Double] = []
    for round in 0...rounds {
        let measured = [
            seconds { convolution.forward(x, weights: w.pointer, to: y, workspace: workspace.pointer) },
            inputs == 3
                ? 0
                : seconds { convolution.inputGradient(dy, weights: w.pointer, to: dx, workspace: workspace.pointer) },
            seconds { convolution.weightGradient(x, dy, to: dw.pointer, workspace: workspace.pointer) },
        ]
        peaks.append(try measurePeak(threads))
        if round > 0 { for (pass, time) in measured.enumerated() { times[pass].append(time) } }
    }
    withExtendedLifetime([xs, ys, dys, dxs]) {}
    let medians = times.map(median)
    var line = layer.name.padding(toLength: 34, withPad: " ", startingAt: 0) + "×\(layer.count)"
    for time in medians {
        line += number(time * 1e3, 2, 9) + column(time > 0 ? "(\(Int(Double(shape.operations) / time * 1e-9)))" : "", 7)
    }
    print(line + number(median(peaks) * 1e-9, 0, 8))
    let sums = totals[layer.network] ?? [0, 0, 0]
    totals[layer.network] = zip(sums, medians).map { $0 + Double(layer.count) * $1 * 1e3 }
}
for (network, sums) in totals.sorted(by: { $0.key < $1.key }) {
    print("\(network): \(sums.map { number($0, 0, 5) }.joined()) together \(number(sums.reduce(0, +), 0, 5)) ms")
}
