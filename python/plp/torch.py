"""Prediction in PyTorch's own training loops: a line beside any optimizer of ``torch.optim``.

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plp.torch.attach(optimizer, plp.PLP())

and after every ``optimizer.step()`` the predictor does to the parameters what it does in :class:`plp.Trainer`, by the
same rule. It is a hook, not a wrapper: schedulers, ``GradScaler`` and Lightning see the optimizer that they know. All
its state lies in the optimizer's, so that ``optimizer.state_dict()`` alone goes on bit for bit, in the middle of a
cycle too.

Needs PyTorch 2.0 or later, which ``import plp`` does not load.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("plp.torch needs PyTorch 2.0 or later: pip install torch") from error

from . import _plp
from ._checks import in_brief
from .options import PLP, Lookahead, Predictor

__all__ = ["Attachment", "attach", "update_statistics"]

# Where the state lies: the memory with a parameter's own state, the rule and the place in its cycle among each group's
# options. PyTorch's ways of saving an optimizer keep these two and nothing else.
MEMORY = "plp_memory"
RULE = "plp_rule"
ITERATION = "plp_iteration"

# What optimizers of torch.optim call the direction that goes on from step to step.
MOMENTA = ("momentum_buffer", "exp_avg")

# Of each optimizer at most one. No attachments, which hold their optimizer: it would live for ever.
_attached: weakref.WeakKeyDictionary[torch.optim.Optimizer, Predictor] = weakref.WeakKeyDictionary()


def attach(optimizer: torch.optim.Optimizer, predictor: Predictor, *, capturable: bool = False) -> Attachment:
    """Lets ``predictor`` act on an optimizer's parameters after each of its steps.

    The parameters may be of any floating or complex dtype and on any device; the arithmetic is done there, in their
    dtype, and nothing waits for it. A parameter counts from its first gradient on. Batch norm's running statistics are
    no parameters and stay as they are: see :meth:`Attachment.average`.

    An optimizer whose state has come from one with the same predictor goes on in its cycle; one without such a state,
    of a run before the predictor, begins the first cycle. Copies and pickles of an optimizer keep that state, but
    PyTorch drops their hooks: attach again. Steps at a learning rate of 0 do not count before the first other one,
    since ``torch.distributed.checkpoint`` takes such a step to have something to load into.

    Args:
        optimizer: any of ``torch.optim``'s. A step that a fused one skips under a ``GradScaler`` does not count.
        predictor: :class:`plp.PLP` or another of this package. With ``momentum="reset"`` the optimizer's momentum
            (``momentum_buffer``, ``exp_avg``) becomes zero at a prediction. The bias correction of Adam and its kin
            goes on, where :class:`plp.Trainer` begins the first moment's anew: the steps that follow are shorter here,
            the first of them, step t, by (1 - β1) / (1 - β1^t).
        capturable: whether to count on the device, so that CUDA graphs can capture a step. For predictors that do the
            same in every cycle; after ``load_state_dict`` a graph has to be captured anew.

    Raises:
        TypeError: ``optimizer`` is not one of ``torch.optim``'s, or saves the state of one within in place of its own,
            or PyTorch is older than 2.0.
        ValueError: it has a predictor already, its state is another predictor's, or an option cannot be followed here.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}, expected a torch.optim.Optimizer")
    if not hasattr(optimizer, "register_step_post_hook"):
        raise TypeError(f"PyTorch is {torch.__version__}, expected 2.0 or later, whose optimizers take hooks")
    within = [name for name, value in vars(optimizer).items() if isinstance(value, torch.optim.Optimizer)]
    if within and type(optimizer).state_dict is not torch.optim.Optimizer.state_dict:
        found = type(optimizer).__name__
        raise TypeError(f"optimizer is a {found}, which saves the state of one within: attach to optimizer.{within[0]}")
    if not isinstance(predictor, Predictor):
        raise ValueError(f"predictor is {in_brief(predictor)}, expected one such as plp.PLP()")
    if predictor.statistics == "predicted" and not predictor._AVERAGES:
        raise ValueError("statistics is 'predicted', but an optimizer does not know batch norm's statistics")
    if optimizer in _attached:
        raise ValueError(f"the optimizer has a predictor already, {_attached[optimizer]!r}: remove() it first")
    return Attachment(optimizer, predictor, capturable)


class Attachment:
    """A predictor at work beside an optimizer; :func:`attach` makes it."""

    def __init__(self, optimizer: torch.optim.Optimizer, predictor: Predictor, capturable: bool = False) -> None:
        self.optimizer = optimizer
        self.predictor = predictor
        self._arithmetic = _Arithmetic(predictor)
        self._rule = _written(predictor)
        self._cycle = _Cycle.of(predictor)
        self._counts_on_device = capturable
        if capturable and self._cycle is None:
            raise ValueError(f"capturable: {self._rule} does not do the same in every cycle, as {_REPEATING} do")
        self._step = _Step([], [], {})
        self._counts = True
        self._check_rule()
        self._checked_pairs()
        self._hooks = (
            optimizer.register_step_pre_hook(_not_compiled(self._before_step)),
            optimizer.register_step_post_hook(_not_compiled(self._after_step)),
        )
        _attached[optimizer] = predictor

    @property
    def iteration(self) -> int:
        """Steps that have counted so far. Waits for the device where that is counted there."""
        return int(self._iteration)

    def remove(self) -> None:
        """Leaves the optimizer as it would be without a predictor, its state included."""
        for hook in self._hooks:
            hook.remove()
        for state in self.optimizer.state.values():
            state.pop(MEMORY, None)
        for group in self.optimizer.param_groups:
            group.pop(RULE, None)
            group.pop(ITERATION, None)
        _attached.pop(self.optimizer, None)

    @contextmanager
    def average(self, model: torch.nn.Module | None = None, batches: Iterable[Any] | None = None) -> Iterator[None]:
        """The parameters are the predictor's average within the block, and their own again behind it.

            with attachment.average(model, train_loader):
                evaluate(model)

        Args:
            model, batches: where both are given, batch norm's running statistics are those of the average on these
                mini-batches within the block, by :func:`update_statistics`. All buffers of the model are as they were
                behind it.

        Raises:
            ValueError: the predictor averages nothing, as PLP and Lookahead do not.
        """
        if not self.predictor._AVERAGES:
            raise ValueError(f"{self._rule} has no average: it acts on the parameters themselves")
        begun = self.iteration > 0 and self._arithmetic(self.iteration - 1).is_average
        with torch.no_grad():
            parameters, memories, _ = self._checked_pairs() if begun else ([], [], [])
            lent = [*parameters, *(model.buffers() if model is not None else ())]
            kept = [(tensor.clone(), tensor._version) for tensor in lent]
            for parameter, memory in zip(parameters, memories):
                parameter.copy_(memory)
        try:
            if model is not None and batches is not None:
                update_statistics(model, batches)
            yield
        finally:
            with torch.no_grad():
                for tensor, (value, version) in zip(lent, kept):
                    if tensor._version != version:  # others may be what nobody may write to
                        tensor.copy_(value)

    # The state in the optimizer

    @property
    def _iteration(self) -> int | torch.Tensor:
        return self.optimizer.param_groups[0].get(ITERATION, 0)

    @_iteration.setter
    def _iteration(self, value: int | torch.Tensor) -> None:
        for group in self.optimizer.param_groups:  # those that were added since the last step too
            group[RULE] = self._rule
            group[ITERATION] = value

    def _check_rule(self) -> None:
        for group in self.optimizer.param_groups:
            found = _in_short(group.get(RULE, self._rule))
            if found != self._rule:
                raise ValueError(f"the optimizer's state is of the predictor {found}, expected {self._rule}")

    def _checked_pairs(self) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        """The parameters that count, their memories, and the parameters that may begin to."""
        parameters, memories, others = [], [], []
        states = self.optimizer.state
        for number, parameter in enumerate(self._parameters()):
            # Not by the index: optimizers take a parameter that has an entry, an empty one too, for one that they know.
            memory = states.get(parameter, {}).get(MEMORY)
            if memory is None:
                others.append(parameter)
                continue
            if _kind(memory) != _kind(parameter):
                raise ValueError(
                    f"parameter {number} is {_named(parameter)}, expected {_named(memory)}, as at the predictor's start"
                )
            parameters.append(parameter)
            memories.append(memory)
        return parameters, memories, others

    def _parameters(self) -> Iterator[torch.Tensor]:
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.is_floating_point() or parameter.is_complex():
                    yield parameter

    # The hooks

    @torch.no_grad()
    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._check_rule()
        parameters, memories, others = self._checked_pairs()
        first = self._iteration
        # Looked at only as long as nothing has counted.
        self._counts = (
            not isinstance(first, int) or first > 0 or any(g.get("lr", 1) != 0 for g in optimizer.param_groups)
        )
        has_closure = any(callable(value) for value in (*args, *kwargs.values()))  # which will make the gradients
        entering = [p for p in others if p.requires_grad and (p.grad is not None or has_closure)]
        self._step = _Step(parameters, memories, {p: p.clone() for p in entering})

    @torch.no_grad()
    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        (parameters, memories, entering), self._step = self._step, _Step([], [], {})
        entered = {parameter: start for parameter, start in entering.items() if parameter.grad is not None}
        share = self._arithmetic.share(self.iteration) if entered else 0.0  # which waits where the device counts
        for parameter, start in entered.items():
            optimizer.state[parameter][MEMORY] = memory = start.mul_(share) if share else start.zero_()
            parameters.append(parameter)
            memories.append(memory)
        if not self._counts:
            self._iteration = self._iteration
            return
        # What GradScaler leaves to fused optimizers: above 0 where the step was skipped.
        skipped = getattr(optimizer, "found_inf", None)
        if self._cycle is not None and (self._counts_on_device or skipped is not None):
            self._iteration = self._cycle.act(self._iteration, skipped, parameters, memories, self._momenta(parameters))
            return
        iteration = self.iteration
        if skipped is None or not skipped.item():
            action = self._arithmetic(iteration)
            for own, remembered in _by_kind(parameters, memories):
                _combine(remembered, action.a, action.b, own)
                _combine(own, action.c, action.d, remembered)
            if action.resets_momentum:
                for momentum in self._momenta(parameters):
                    momentum.zero_()
            iteration += 1
        self._iteration = iteration

    def _momenta(self, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        """What the optimizer keeps as momentum, where the predictor resets that."""
        if getattr(self.predictor, "momentum", "kept") != "reset":
            return []
        states = (self.optimizer.state[parameter] for parameter in parameters)
        return [state[name] for state in states for name in MOMENTA if state.get(name) is not None]


def update_statistics(model: torch.nn.Module, batches: Iterable[Any]) -> None:
    """Measures batch norm's running statistics anew, as means over ``batches``: those of the parameters as they are.

    It is ``torch.optim.swa_utils.update_bn`` on the model's own device, and leaves each module in training or in
    evaluation as it was. Call it where parameters were replaced by an average; after a prediction the next training
    steps do as much.

    Args:
        batches: mini-batches of inputs, or tuples that begin with one, such as a DataLoader of training images.
    """
    device = next((parameter.device for parameter in model.parameters()), None)
    # That has frozen modules train behind it, too, and batch norms without momentum where a mini-batch fails.
    kept = [(module, module.training, getattr(module, "momentum", None)) for module in model.modules()]
    try:
        torch.optim.swa_utils.update_bn(batches, model, device)
    finally:
        for module, training, momentum in kept:
            module.training = training
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = momentum


class _Step(NamedTuple):
    """What a step of the optimizer begins with: the parameters that count, and where those stand that may enter."""

    parameters: list[torch.Tensor]
    memories: list[torch.Tensor]
    entering: dict[torch.Tensor, torch.Tensor]


class _Action(NamedTuple):
    """What a predictor does after one step; see plp_action in plp.h."""

    a: float
    b: float
    c: float
    d: float
    replaces_parameters: bool
    resets_momentum: bool
    is_average: bool
    remembers_start: bool


class _Arithmetic:
    """A predictor's numbers, from the library."""

    def __init__(self, predictor: Predictor) -> None:
        self._options = predictor._fields()
        self._first_share = 0, 1.0 if self(0).remembers_start else 0.0  # of no iterations; checks the options too
        self._latest_share = self._first_share

    def __call__(self, iteration: int) -> _Action:
        return _Action(*_plp.predictor_action(self._options, iteration))

    def share(self, iterations: int) -> float:
        """The memory of a parameter that has not moved in so many iterations is this multiple of it."""
        # On from the latest: parameters may enter one by one, after a great many iterations.
        done, share = self._latest_share if self._latest_share[0] <= iterations else self._first_share
        for action in map(self, range(done, iterations)):
            share = action.a * share + action.b
        self._latest_share = iterations, share
        return share


def _by_kind(*lists: list[torch.Tensor]) -> Iterable[tuple[list[torch.Tensor], ...]]:
    """The lists, in which tensors of one place belong together, cut into such of one device and dtype each.

    PyTorch's foreach operations are fast on those.
    """
    groups: dict[tuple[torch.device, torch.dtype], tuple[list[torch.Tensor], ...]] = {}
    for tensors in zip(*lists):
        group = groups.setdefault((tensors[0].device, tensors[0].dtype), tuple([] for _ in lists))
        for tensor, of_kind in zip(tensors, group):
            of_kind.append(tensor)
    return groups.values()


def _combine(targets: list[torch.Tensor], kept: float, taken: float, others: list[torch.Tensor]) -> None:
    """target ← kept target + taken other, without passes that change nothing"""
    if kept == 0 and targets[0].is_cpu:  # in one pass: that is worth more than few calls here
        for target, other in zip(targets, others):
            torch.mul(other, taken, out=target)
    elif kept == 0:
        torch._foreach_zero_(targets)
        torch._foreach_add_(targets, others, alpha=taken)
    else:
        if kept != 1:
            torch._foreach_mul_(targets, kept)
        if taken != 0:
            torch._foreach_add_(targets, others, alpha=taken)


def _combine_on_device(
    targets: list[torch.Tensor], kept: torch.Tensor, taken: torch.Tensor, others: list[torch.Tensor]
) -> None:
    """The same with numbers that only the device knows."""
    parts = torch._foreach_mul(others, taken)
    torch._foreach_mul_(targets, kept)
    _clear_on_device(parts, taken)
    _clear_on_device(targets, kept)
    torch._foreach_add_(targets, parts)


def _clear_on_device(tensors: Iterable[torch.Tensor], factor: torch.Tensor) -> None:
    """Makes tensors zero where the factor is, NaN too, which 0 times NaN is not; else leaves them.

    It multiplies their bits, as integers: a few calls for all of them, where ``torch.where`` takes one for each.
    """
    real = [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
    bits = [tensor.view(_INTEGERS[tensor.element_size()]) for tensor in real]
    torch._foreach_mul_(bits, (factor != 0).to(bits[0].dtype))


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class _Cycle:
    """A predictor that does the same in every cycle, as a table that the device looks its numbers up in."""

    def __init__(self, predictor: Predictor, start: int, period: int, end: int | None) -> None:
        self._start, self._period, self._end = start, period, end
        actions = map(_Arithmetic(predictor), range(start, start + period))
        rows = [[*action[:4], 0 if action.resets_momentum else 1] for action in actions]
        self._table = torch.tensor([*rows, [1, 0, 1, 0, 1]], dtype=torch.float64)  # the last one for what does nothing

    @classmethod
    def of(cls, predictor: Predictor) -> _Cycle | None:
        """None where the predictor is none of this kind."""
        if isinstance(predictor, PLP):
            return cls(predictor, predictor.start, predictor._cycle, predictor.end)
        return cls(predictor, 0, predictor._cycle, None) if isinstance(predictor, Lookahead) else None

    def act(
        self,
        iteration: int | torch.Tensor,
        skipped: torch.Tensor | None,
        parameters: list[torch.Tensor],
        memories: list[torch.Tensor],
        momenta: list[torch.Tensor],
    ) -> torch.Tensor:
        """Does what the row of this iteration says; gives the count of the next."""
        device = parameters[0].device if parameters else torch.device("cpu")
        self._table = self._table.to(device)
        count = torch.as_tensor(iteration, device=device)
        outside = count < self._start
        if self._end is not None:
            outside |= count >= self._end
        if skipped is not None:
            outside |= skipped.to(device) > 0
        # An index_select, which a graph can capture, unlike indexing by a tensor that is looked at on the host.
        place = torch.where(outside, self._period, (count - self._start) % self._period)
        row = self._table.index_select(0, place.reshape(1))[0]
        for own, remembered in _by_kind(parameters, memories):
            a, b, c, d, _ = row.to(own[0].device, own[0].dtype)
            _combine_on_device(remembered, a, b, own)
            _combine_on_device(own, c, d, remembered)
        for (of_kind,) in _by_kind(momenta):
            _clear_on_device(of_kind, row[4].to(of_kind[0].device))
        counted = 1 if skipped is None else (skipped.to(device) == 0).to(count.dtype)
        return count.add_(counted) if isinstance(iteration, torch.Tensor) else count + counted


_REPEATING = "PLP and Lookahead"


def _kind(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, torch.device]:
    return tensor.dtype, tensor.shape, tensor.device


def _named(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} on {tensor.device}"


def _written(predictor: Predictor) -> str:
    """A predictor as the code that makes it, without what it has by default; equal ones alike."""
    own = {f.name: getattr(predictor, f.name) for f in fields(predictor) if getattr(predictor, f.name) != f.default}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in own.items()}
    given = (f"{name}={value!r}" for name, value in plain.items())
    return _in_short(f"{type(predictor).__name__}({', '.join(given)})")


def _in_short(rule: str) -> str:
    """With 2.0 as 2, lists as tuples, NumPy's numbers as Python's: states of earlier versions tell what was given."""
    rule = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", rule)
    return re.sub(r"\.0\b", "", rule.translate(str.maketrans("[]", "()")))


def _not_compiled(hook: Any) -> Any:
    """Keeps a hook out of steps that torch.compile compiles: it runs between their graphs."""
    return torch._dynamo.disable(hook)
