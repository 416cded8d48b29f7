"""PyTorch's training loop and ours in one study: the same network, augmentation and schedule, over several seeds.

Needs PyTorch 2 (for plp.torch). Both begin with the same weights; the order of the images and their augmentation are
drawn by each for itself.

    python torch_engine.py --data FOLDER --seeds 4 --epochs 10
"""

import argparse
import time

import plp
import torch
from torch.nn import functional
from torch_networks import network

MEAN = torch.tensor([0.5070751592371323, 0.48654887331495095, 0.4409178433670343]).view(3, 1, 1)
DEVIATION = torch.tensor([0.2673342858792401, 0.2564384629170883, 0.27615047132568404]).view(3, 1, 1)


def normalised(images):
    return (images.float() / 255 - MEAN) / DEVIATION


def augmented(images, crop, flip):
    """A random crop of each image, padded with zeros, and a mirrored one every other time."""
    count, _, _, size = images.shape
    padded = functional.pad(images, (crop,) * 4)
    rows = torch.randint(2 * crop + 1, (count, 1, 1)) + torch.arange(size).view(1, size, 1)
    columns = torch.randint(2 * crop + 1, (count, 1, 1)) + torch.arange(size).view(1, 1, size)
    mirrored = torch.rand(count, 1, 1) < (0.5 if flip else 0)
    columns = torch.where(mirrored, columns.flip(2), columns)
    found = padded.permute(0, 2, 3, 1)[torch.arange(count).view(-1, 1, 1), rows, columns].permute(0, 3, 1, 2)
    return found.contiguous()  # channels last, PyTorch 2.15's backward pass ends the process where channels are four


def measured(logits, labels):
    """Sums of loss, top-1 and top-5 errors."""
    best = logits.topk(5).indices == labels.view(-1, 1)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return torch.stack([loss.detach(), (~best[:, 0]).sum(), (~best.any(1)).sum()])


@torch.no_grad()
def evaluated(model, images, labels):
    model.eval()
    sums = sum(measured(model(normalised(x)), y) for x, y in zip(images.split(500), labels.split(500)))
    model.train()
    return plp.Metrics(*(sums / len(labels)).tolist())


def torch_engine(task):
    """A run by PyTorch: see plp.Task. It takes recipes of SGD, with or without PLP."""
    recipe, sgd = task.recipe, task.recipe.optimizer
    if task.threads:
        torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    model = network(task.network, task.train.classes, width=task.width)
    start = plp.Model(task.network, classes=task.train.classes, width=task.width, seed=task.seed)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in start.state_dict().items()})
    optimizer = torch.optim.SGD(
        model.parameters(), sgd.lr, momentum=sgd.momentum, weight_decay=sgd.weight_decay, nesterov=sgd.nesterov
    )
    if recipe.predictor:
        plp.torch.attach(optimizer, recipe.predictor)

    images, labels = torch.tensor(task.train.images), torch.tensor(task.train.labels).long()
    order = torch.randperm(len(labels))
    held_out, kept = order.tensor_split([round(task.validation * len(labels))])
    iterations = -(-len(kept) // recipe.batch_size)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.epochs * iterations)

    epochs, best, best_state = [], None, None
    for epoch in range(1, task.epochs + 1):
        began, sums = time.perf_counter(), torch.zeros(3)
        for batch in kept[torch.randperm(len(kept))].split(recipe.batch_size):
            x = normalised(augmented(images[batch], recipe.augmentation.crop, recipe.augmentation.flip))
            rate = optimizer.param_groups[0]["lr"]
            optimizer.zero_grad()
            logits = model(x)
            functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            cosine.step()
            sums += measured(logits, labels[batch])
        seconds = time.perf_counter() - began
        metrics = plp.Metrics(*(sums / len(kept)).tolist())
        validation = evaluated(model, images[held_out], labels[held_out]) if len(held_out) else None
        epochs.append(plp.Epoch(epoch, rate, seconds, len(kept) / seconds, metrics, validation, iterations=iterations))
        if validation is None or best is None or validation.top1_error < best.validation.top1_error:
            best = epochs[-1]
            best_state = {name: value.clone() for name, value in model.state_dict().items()}
        if task.note(epochs[-1]):
            break

    def tested():
        return task.test and evaluated(model, torch.tensor(task.test.images), torch.tensor(task.test.labels).long())

    last = tested()
    model.load_state_dict(best_state)
    data = f"{task.train.name}, by PyTorch {torch.__version__}"
    return plp.History(tuple(epochs), best.epoch, data, tested(), last_test=last)


def engine(task):
    """Chooses by the method's name: a study may hold runs of several engines."""
    return torch_engine(task) if task.method.startswith("PyTorch") else plp.engine(task)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="CIFAR-100's folder; synthetic images where none is given")
    parser.add_argument("--images", type=int, help="train on so many")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--path", help="a folder for the study, which goes on from there")
    options = parser.parse_args()
    train, test = plp.datasets.cifar100(options.data) if options.data else plp.datasets.synthetic(2000, 500)
    prediction = {"predictor": plp.PLP()}
    study = plp.compare(
        "resnet18",
        {"sgd": {}, "PyTorch's sgd": {}, "plp": prediction, "PyTorch with plp": prediction},
        train=train[: options.images],
        test=test,
        epochs=options.epochs,
        repeats=options.seeds,
        recipe=plp.QUICK,
        width=options.width,
        path=options.path,
        engine=engine,
    )
    print(study)


if __name__ == "__main__":
    main()
