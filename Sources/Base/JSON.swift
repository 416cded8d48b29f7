// Values as text, for files that remember what they belong to.

import FoundationEssentials

/// A value as JSON, its keys in order.
package func json(_ value: some Encodable) throws(Failure) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    do { return String(decoding: try encoder.encode(value), as: UTF8.self) } catch {
        throw Failure(.invalidArgument, "\(type(of: value)) cannot be written as JSON: \(error)")
    }
}

/// The same behind its type's name: `EMA {"decay":0.999}`.
package func description(of value: some Encodable) throws(Failure) -> String {
    "\(type(of: value)) \(try json(value))"
}

/// A value from JSON.
///
/// - Parameters:
///   - most: strings, numbers, lists and objects that it may hold, keys included. Counted before it is decoded, which
///     takes a microsecond for each, whatever it is.
///   - name: what messages call it.
package func value<Value: Decodable>(
    _ type: Value.Type, json: Data, most: Int, name: String
) throws(Failure) -> Value {
    guard values(in: json, most: most) <= most else {
        throw Failure(.corrupt, "\(name): found more than \(grouped(most)) values of JSON, expected less")
    }
    do { return try JSONDecoder().decode(type, from: json) } catch {
        throw Failure(.corrupt, "\(name): not the expected JSON: \(excerpt(reason(error)))")
    }
}

/// How many values there are in JSON, or `most` and one where there are more. Of what is no JSON, any number.
private func values(in json: Data, most: Int) -> Int {
    var values = 1
    var isString = false
    var isEscaped = false
    for byte in json where values <= most {
        switch byte {
        case _ where isEscaped: isEscaped = false
        case UInt8(ascii: "\\") where isString: isEscaped = true
        case UInt8(ascii: "\""): isString.toggle()
        case UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: ","), UInt8(ascii: ":"): values += isString ? 0 : 1
        default: break
        }
    }
    return values
}

/// What a decoder says, without the names of Swift's types.
private func reason(_ error: any Error) -> String {
    func place(_ context: DecodingError.Context) -> String {
        let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
        return path.isEmpty ? "" : " in \(path.joined(separator: "."))"
    }
    return switch error as? DecodingError {
    case .keyNotFound(let key, let context): "no \(key.stringValue) found\(place(context))"
    case .valueNotFound(_, let context): "null found\(place(context))"
    case .typeMismatch(_, let context): "a value of another type found\(place(context))"
    case .dataCorrupted(let context): "\(context.debugDescription)\(place(context))"
    default: "\(error)"
    }
}
