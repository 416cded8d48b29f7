"""A training loop of PyTorch's with and without PLP, and with the control that tells whether prediction adds anything.

Learns which of ten numbers is the largest, from noisy copies of them; prints each run's loss on fresh data.
"""

import plp
import torch


def train(lr, predictor=None, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(40, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    if predictor:
        plp.torch.attach(optimizer, predictor)

    def loss():
        numbers = torch.randn(128, 10)
        copies = numbers.repeat(1, 4) + torch.randn(128, 40)
        return torch.nn.functional.cross_entropy(model(copies), numbers.argmax(1))

    for _ in range(600):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    with torch.no_grad():
        return torch.stack([loss() for _ in range(50)]).mean().item()


for name, how in {"SGD": (0.1,), "SGD at 7/6": (0.1 * 7 / 6,), "PLP": (0.1, plp.PLP())}.items():
    losses = [train(*how, seed=seed) for seed in range(3)]
    print(f"{name:11}", " ".join(f"{loss:.4f}" for loss in losses))
