// In what the options of a checkpoint and of a trainer differ: named one by one, as Python names them, for the message of
// a refused checkpoint.

import FoundationEssentials
import PLPBase

/// The options of one name that differ, one a line: "optimizer.lr: 0.05 in the checkpoint, 0.06 in the trainer".
///
/// - Parameters:
///   - checkpoint: options as JSON, behind the name of their kind where there are several; nil where there are none.
///   - trainer: likewise.
func differences(_ name: String, _ checkpoint: String?, _ trainer: String) -> [String] {
    guard checkpoint != trainer else { return [] }
    let name = pythonName(name)
    let found = checkpoint.map { options(name, $0) } ?? []
    let expected = options(name, trainer)
    let names = expected.map(\.name) + found.map(\.name).filter { name in !expected.contains { $0.name == name } }
    func value(_ name: String, in options: [NamedOption]) -> String? { options.first { $0.name == name }?.value }
    let different = names.filter { value($0, in: found) != value($0, in: expected) }
    return
        different
        // Where the kind is another, its options say nothing.
        .filter { name in !different.contains { name.hasPrefix("\($0).") } }
        .map { name in
            let (found, expected) = (value(name, in: found) ?? "nothing", value(name, in: expected) ?? "nothing")
            return "\(excerpt(name)): \(excerpt(found)) in the checkpoint, \(excerpt(expected)) in the trainer"
        }
}

private typealias NamedOption = (name: String, value: String)

/// What a text as above says: the kind, under the options' own name, and each option.
private func options(_ name: String, _ text: String) -> [NamedOption] {
    let start = text.firstIndex(of: "{") ?? text.startIndex
    let kind = text[..<start].filter { $0 != " " }
    guard let options = try? value(OptionValue.self, json: Data(text[start...].utf8), most: 10_000, name: name) else {
        return [(name, text)]
    }
    return (kind.isEmpty ? [] : [(name, kind)]) + options.options(name)
}

/// A value of JSON.
private enum OptionValue: Decodable {
    case value(String)
    case options([String: OptionValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let options = try? container.decode([String: OptionValue].self) {
            self = .options(options)
        } else if let list = try? container.decode([OptionValue].self) {
            self = .value("[\(list.map(\.text).joined(separator: ", "))]")
        } else if let flag = try? container.decode(Bool.self) {
            self = .value("\(flag)")
        } else if let number = try? container.decode(Int.self) {
            self = .value("\(number)")
        } else if let number = try? container.decode(UInt64.self) {
            self = .value("\(number)")
        } else if let number = try? container.decode(Double.self) {
            self = .value("\(number)")
        } else {
            self = .value(try container.decode(String.self))
        }
    }

    private var text: String {
        switch self {
        case .value(let text): text
        case .options: "…"
        }
    }

    func options(_ name: String) -> [NamedOption] {
        switch self {
        case .value(let text): return [(name, text)]
        case .options(let options):
            // A case of an enumeration with its values is written as {"cosine":{"floor":0}}.
            if options.count == 1, let (kind, value) = options.first, case .options = value {
                return [(name, pythonName(kind))] + value.options(name)
            }
            return options.sorted { $0.key < $1.key }.flatMap { $1.options("\(name).\(pythonName($0))") }
        }
    }
}

/// "weight_decay" for "weightDecay", "batch_size" for "batch size".
private func pythonName(_ name: String) -> String {
    if name == "learningRate" { return "lr" }
    return name.reduce(into: "") { $0 += $1 == " " ? "_" : $1.isUppercase ? "_\($1.lowercased())" : String($1) }
}
