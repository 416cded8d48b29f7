"""What a prediction costs beside PyTorch's own work: torch_prediction.py [--network NAME] [--rounds N] [--device cpu]
                                                     [--capturable]

In each round, by turns: a cycle of three predictor's steps without the optimizer's, five copies of all parameters, and
three steps of the optimizer alone. Prints medians, and the median of the ratios within the rounds. On a GPU these are
the times that it takes to queue them, and those that the device takes.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import plp
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples/python"))
import torch_networks  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--network", default="resnet18", choices=torch_networks.NETWORKS)
parser.add_argument("--rounds", default=15, type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--capturable", action="store_true", help="count on the device, as CUDA graphs want it")
options = parser.parse_args()

model = torch_networks.network(options.network).to(options.device)
parameters = list(model.parameters())
copies = [torch.empty_like(parameter) for parameter in parameters]
for parameter in parameters:
    parameter.grad = torch.randn_like(parameter) * 1e-4
optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
attachment = plp.torch.attach(optimizer, plp.PLP(), capturable=options.capturable)
optimizer.step()


def predict():
    for _ in range(3):
        attachment._before_step(optimizer, (), {})
        attachment._after_step(optimizer, (), {})


def copy():
    for _ in range(5):
        with torch.no_grad():
            torch._foreach_copy_(copies, parameters)


def step():
    hooks = dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)
    optimizer._optimizer_step_pre_hooks.clear(), optimizer._optimizer_step_post_hooks.clear()
    for _ in range(3):
        optimizer.step()
    optimizer._optimizer_step_pre_hooks.update(hooks[0]), optimizer._optimizer_step_post_hooks.update(hooks[1])


def on_processor(function):
    if options.device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


def on_gpu(function):
    """By its own clock, with all calls queued while it sleeps: what it takes where the host runs ahead of it."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(40_000_000)  # cycles, some 20 ms
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def told(clock):
    """What the three take by this clock, in words."""
    rounds = [[clock(function) for function in (predict, copy, step)] for _ in range(options.rounds + 1)][1:]
    prediction, copying, stepping = (statistics.median(column) for column in zip(*rounds))
    ratios = [predicted / copied for predicted, copied, _ in rounds]
    return (
        f"a cycle of predictions {prediction:.2f} ms, five copies {copying:.2f} ms, three fused steps {stepping:.2f} "
        f"ms; cycle to copies {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


count = sum(parameter.numel() for parameter in parameters)
about = f"{options.network}, {count:,} parameters, PyTorch {torch.__version__}, n = {options.rounds}"
if options.capturable:
    about += ", counted on the device"
if options.device == "cpu":
    print(f"{about}; the processor: {told(on_processor)}")
else:
    print(f"{about}; to queue: {told(on_processor)}")
    print(f"{about}; {torch.cuda.get_device_name()}: {told(on_gpu)}")
