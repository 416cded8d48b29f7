// What tests of several modules share: expected failures, folders that vanish.

import Foundation
import PLPBase
import Testing

/// Expects a failure of a kind, whose message has all of the words.
public func expectFailure<Result>(
    _ kind: Failure.Kind, _ words: String..., at location: SourceLocation = #_sourceLocation,
    _ body: () throws -> Result
) {
    do {
        _ = try body()
        Issue.record("no failure", sourceLocation: location)
    } catch let error as Failure {
        #expect(error.kind == kind, "\(error)", sourceLocation: location)
        for word in words {
            #expect(error.message.contains(word), "\(error)", sourceLocation: location)
        }
    } catch {
        Issue.record(error, sourceLocation: location)
    }
}

/// A folder for one test.
public final class Folder {
    public let path = NSTemporaryDirectory() + "plp-" + UUID().uuidString

    public init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    public func write(_ name: String, _ bytes: [UInt8]) throws {
        let url = URL(fileURLWithPath: "\(path)/\(name)")
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
    }
}
