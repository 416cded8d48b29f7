"""Train a small ResNet18 with parameter linear prediction; CIFAR-100 where there is one, else the synthetic set."""

import plp

train, test = plp.datasets.find() or plp.datasets.synthetic(1_000, 200)
model = plp.Model("resnet18", classes=train.classes, width=0.125, seed=0)
trainer = plp.Trainer(
    model,
    optimizer=plp.SGD(lr=0.05, momentum=0.9, weight_decay=5e-4),
    predictor=plp.PLP(),
    schedule=plp.schedules.Cosine(),
    batch_size=128,
    seed=0,
)
history = trainer.fit(train, validation=0.2, test=test, epochs=2)  # Ctrl-C stops cleanly
print(history)
history.plot("curves.png")
trainer.best_model.save("resnet18.safetensors")
