"""A training loop of one's own, with the prediction done by hand: the bare formula on state dictionaries."""

import numpy as np
import plp

train, test = plp.datasets.synthetic(1_000, 200)
model = plp.Model("resnet18", width=0.125)
trainer = plp.Trainer(model, optimizer=plp.SGD(lr=0.05), batch_size=100)

iterates = []
order = np.random.default_rng(0).permutation(len(train))
for batch in order.reshape(-1, 100):
    loss = trainer.step(train.images[batch], train.labels[batch])
    iterates.append(model.state_dict())
    if len(iterates) == 3:
        predicted = {name: plp.predict(*(state[name] for state in iterates)) for name in model.parameter_names}
        model.load_state_dict({**iterates[-1], **predicted})
        iterates = []
    print(f"loss {loss:.3f}")
print(trainer.evaluate(test))
