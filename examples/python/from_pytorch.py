"""Weights to PyTorch and back: names, shapes and layouts are those of weiaicunzai/pytorch-cifar100."""

import plp
import torch

model = plp.Model("resnet18", width=0.125)
tensors = {name: torch.from_numpy(values) for name, values in model.state_dict().items()}
print(f"{len(tensors)} tensors; conv1.0.weight is {list(tensors['conv1.0.weight'].shape)}")

tensors["conv1.0.weight"] *= 0.5
model.load_state_dict(tensors)
assert torch.equal(torch.from_numpy(model.state_dict()["conv1.0.weight"]), tensors["conv1.0.weight"])
