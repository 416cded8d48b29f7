"""A state dictionary of PyTorch's, trained further here, and back. Names, shapes and layouts of the three networks are
those of weiaicunzai/pytorch-cifar100.

    python from_pytorch.py resnet18.pth     # there: torch.save(network.state_dict(), "resnet18.pth")

Without a file it takes a small network of its own.
"""

import sys

import plp
import torch

if len(sys.argv) > 1:
    path, model = sys.argv[1], plp.Model("resnet18")
else:
    path, model = "resnet18.pth", plp.Model("resnet18", width=0.125)
    torch.save({name: torch.from_numpy(values) for name, values in model.state_dict().items()}, path)

model.load_state_dict(torch.load(path, map_location="cpu"))

train, test = plp.datasets.find() or plp.datasets.synthetic(1_000, 200)
print("before", model.evaluate(test[:200]))
plp.Trainer(model, optimizer=plp.SGD(lr=0.01), predictor=plp.PLP()).fit(train[:1_000])
print("after", model.evaluate(test[:200]))

# There: network.load_state_dict(torch.load("trained.pth"))
torch.save({name: torch.from_numpy(values) for name, values in model.state_dict().items()}, "trained.pth")
