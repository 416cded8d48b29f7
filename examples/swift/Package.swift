// swift-tools-version: 6.2
import PackageDescription

// PLP_REPOSITORY is whatever git clones from; without it, the checkout that this example lies in.
let plp: Package.Dependency =
    if let repository = Context.environment["PLP_REPOSITORY"] {
        .package(url: repository, exact: "0.2.0")
    } else {
        .package(name: "plp", path: "../..")
    }

let package = Package(
    name: "example",
    dependencies: [plp],
    targets: [.executableTarget(name: "Example", dependencies: [.product(name: "PLPTraining", package: "plp")])]
)
