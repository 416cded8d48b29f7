// Trains a small ResNet18 with PLP on images made by code, and evaluates what it has saved.

import PLPTraining

@main
enum Example {
    static func main() throws {
        let train = try Dataset.synthetic(split: .train, count: 1000)
        let test = try Dataset.synthetic(split: .test, count: 200)
        let model = try Model(ModelConfiguration(.resnet18, width: 0.125))
        let trainer = try Trainer(
            model, optimizer: SGD(learningRate: 0.05), schedule: .constant, predictor: PLP(), batchSize: 32)
        print(try trainer.fit(train, validation: .fraction(0.2), epochs: 2))

        try trainer.bestModel().save(to: "resnet18.safetensors")
        print(try trainer.evaluate(test))
    }
}
