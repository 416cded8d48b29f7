// Memory as the kernels see it: flat aligned float buffers, and views of NHWC maps in them.
//
// In the checked build (PLP_CHECKED, see Package.swift) a buffer ends at a page that nobody may touch, scratch memory
// begins as signalling NaN, and what is asserted is checked.

import Glibc
import PLPBase

/// A flat buffer of float32 values, zero at first, aligned to a cache line.
///
/// Parameters, gradients and optimizer state each lie in one such buffer. It owns its memory and never moves.
public final class FloatBuffer: @unchecked Sendable {
    /// Bytes in a cache line, and in the widest vector register.
    public static let alignment = 64

    public let pointer: UnsafeMutablePointer<Float>
    public let count: Int
    private let pages: UnsafeMutableRawBufferPointer

    #if CHECKED
        private static let guardBytes = Int(sysconf(Int32(_SC_PAGESIZE)))
    #else
        private static let guardBytes = 0
    #endif

    /// - Parameter count: number of values, zero or more.
    /// - Throws: `Failure(.outOfMemory)` where the system gives no more memory.
    public init(count: Int) throws(Failure) {
        let used = roundUp(max(count, 1) * MemoryLayout<Float>.stride, to: Self.alignment)
        let whole = roundUp(used, to: max(Self.guardBytes, 1))
        let bytes = whole + Self.guardBytes
        try Memory.require(bytes: bytes, for: "a buffer of \(grouped(count)) values")
        // Fresh pages are zero already, and cost nothing before they are touched.
        guard let pages = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            pages != MAP_FAILED
        else {
            throw Failure(.outOfMemory, "the system refused \(Double(bytes) / 1e6) MB of memory")
        }
        if Self.guardBytes > 0 {
            mprotect(pages + whole, Self.guardBytes, PROT_NONE)
        } else {
            madvise(pages, bytes, MADV_HUGEPAGE)
        }
        Memory.given(pages, bytes: bytes)
        self.pages = UnsafeMutableRawBufferPointer(start: pages, count: bytes)
        pointer = (pages + whole - used).bindMemory(to: Float.self, capacity: max(count, 1))
        self.count = count
    }

    /// Memory whose values at first are of no account, for whoever writes each before reading it.
    public convenience init(scratch count: Int) throws(Failure) {
        try self.init(count: count)
        #if CHECKED
            values.update(repeating: .signalingNaN)
        #endif
    }

    deinit {
        Memory.givenBack(pages.baseAddress!)
        munmap(pages.baseAddress!, pages.count)
    }

    /// The values where they lie; valid as long as the buffer lives.
    public var values: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: pointer, count: count) }

    /// A copy of the values.
    public var array: [Float] { withExtendedLifetime(self) { Array(values) } }

    /// Copies all values of a buffer of the same size; any other ends the process.
    public func copy(from other: FloatBuffer) {
        guard other.count == count else {
            fatalError("FloatBuffer.copy: found \(other.count) values, expected \(count)")
        }
        pointer.update(from: other.pointer, count: count)
    }
}

/// A view of float32 maps in NHWC order: `count` images of `height` × `width` pixels with `channels` values each.
///
/// Consecutive pixels lie `stride` values apart; `stride > channels` where the view is a slice of wider maps, which is
/// how branches write into their place of a concatenation. Rows and images follow each other without gaps.
public struct Maps: @unchecked Sendable {
    public var base: UnsafeMutablePointer<Float>
    public var count: Int
    public var height: Int
    public var width: Int
    public var channels: Int
    public var stride: Int

    public init(
        _ base: UnsafeMutablePointer<Float>, count: Int, height: Int, width: Int, channels: Int, stride: Int? = nil
    ) {
        assert(count >= 0 && height > 0 && width > 0 && channels > 0 && stride ?? channels >= channels)
        self.base = base
        self.count = count
        self.height = height
        self.width = width
        self.channels = channels
        self.stride = stride ?? channels
    }

    /// Whether these have the images, pixels and channels that others have.
    func agree(with other: Maps) -> Bool {
        (count, height, width, channels) == (other.count, other.height, other.width, other.channels)
    }

    /// Pixels of all images together.
    public var pixels: Int { count * height * width }

    /// Values of an image, for layers that care for no shape: they take maps whose pixels follow each other without gaps.
    public var valuesPerImage: Int {
        assert(stride == channels)
        return height * width * channels
    }

    /// The channels `range` of these maps, as a view of the same memory.
    public func slice(_ range: Range<Int>) -> Maps {
        assert(range.lowerBound >= 0 && range.upperBound <= channels)
        return Maps(
            base + range.lowerBound, count: count, height: height, width: width, channels: range.count, stride: stride)
    }
}
