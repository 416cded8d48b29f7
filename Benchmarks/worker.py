"""One side of a measurement: a process that computes when it is told to, and says how long that took.

    python worker.py OPTIONS     a JSON object: engine, network, width, batch_size, threads, start, predictor, precision

`start` is an .npz file with the state dictionary, "images" (float32) and "labels", of which the first `batch_size` are
the mini-batch. Then each line on standard input is a number of training steps ("train 3"), of passes in evaluation mode
("evaluate 1"), "memory", or "updates"; each is answered by one line of JSON. Every engine has its process, since
neither may warm the other's caches, threads or memory.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

import numpy as np

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


class Ours:
    def __init__(self, network, width, batch_size, threads, predictor, precision, state, images, labels):
        import plp

        self.version = f"plp {plp.__version__} with {re.search('vectors: (.*)', plp.build_info())[1]}"
        self.model = plp.Model(network, width=width, dropout=0.0)
        self.model.load_state_dict(state)
        self.trainer = plp.Trainer(
            self.model,
            optimizer=plp.SGD(**SGD),
            predictor=plp.PLP() if predictor == "plp" else None,
            batch_size=batch_size,
            threads=threads,
        )
        self.images, self.labels, self.threads = images, labels, threads

    def train(self):
        return self.trainer.step(self.images, self.labels)

    def update_seconds(self):
        """Seconds that updates have taken so far, predictions included."""
        profile = self.trainer.profile
        return profile.timings[-1].seconds * profile.iterations

    def evaluate(self):
        return float(self.model.logits(self.images, threads=self.threads)[0, 0])


class PyTorch:
    """Its best settings: channels last, the fused optimizer, and, by the environment, tcmalloc."""

    def __init__(self, network, width, batch_size, threads, predictor, precision, state, images, labels):
        sys.path.insert(0, str(Path(__file__).parents[1] / "examples/python"))
        import torch
        import torch_networks

        torch.set_num_threads(threads)
        self.torch, self.version = torch, f"PyTorch {torch.__version__}"
        self.module = torch_networks.network(network, width=width, dropout=0.0)
        self.module.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
        self.module.to(memory_format=torch.channels_last)
        self.images = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(labels).long()
        self.optimizer = torch.optim.SGD(self.module.parameters(), fused=True, **SGD)
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def train(self):
        self.module.train()
        self.optimizer.zero_grad()
        with self.autocast:
            loss = self.torch.nn.functional.cross_entropy(self.module(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def evaluate(self):
        self.module.eval()
        with self.torch.inference_mode(), self.autocast:
            return self.module(self.images)[0, 0].item()


def peak_memory():
    """Megabytes that the process has ever had in memory at once."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # whatever a library prints must not get between the answers
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    engine = {"plp": Ours, "pytorch": PyTorch}[options.pop("engine")]
    start = dict(np.load(options.pop("start")))
    images, labels = (start.pop(name)[: options["batch_size"]].copy() for name in ("images", "labels"))
    side = engine(**options, state=start, images=images, labels=labels)
    print(json.dumps(side.version), file=answers)
    for line in sys.stdin:
        command, _, count = line.partition(" ")
        if command.strip() == "memory":
            answer = peak_memory()
        elif command.strip() == "updates":
            answer = side.update_seconds()
        else:
            compute = {"train": side.train, "evaluate": side.evaluate}[command]
            began = time.perf_counter()
            values = [compute() for _ in range(int(count))]
            answer = {"seconds": time.perf_counter() - began, "values": values}
        print(json.dumps(answer), file=answers)


main()
