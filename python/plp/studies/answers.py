"""What a study's pairs of runs allow to say: differences with intervals and p-values, and each of them in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor
from statistics import fmean, stdev

from ..records import Epoch, Metrics
from .records import Answer, Run, Study, Verdict
from .statistics import LEVEL, has_spread, holm, interval, paired_p, pairs_needed


@dataclass(frozen=True)
class _Measure:
    """A number that a run has, unless it failed or never came there, and what it is."""

    name: str
    model: str
    images: str
    unit: str
    of: Callable[[Run], float | None]
    more_is_better: bool = False
    effect: float | None = None


def answers(study: Study, effect: float = 1.0, accuracies: Sequence[float] | None = None) -> tuple[Answer, ...]:
    """See :meth:`plp.Study.answers`."""
    found: list[Answer] = []
    for network in study.networks:
        for measure in _measures(study, network, effect, accuracies):
            found += _by_measure(study, network, measure)
    return tuple(found)


def of_accuracy(study: Study, network: str | None = None) -> list[Answer]:
    """Of all answers, or those of a network, the ones by what counts: the accuracy of the optimal model."""
    return [
        answer
        for answer in answers(study)
        if (answer.measure, answer.model) == ("accuracy", "optimal") and network in (None, answer.network)
    ]


def _by_measure(study: Study, network: str, measure: _Measure) -> list[Answer]:
    values: dict[str, dict[int, float]] = {method: {} for method in study.methods}
    for run in study.runs:
        if run.network == network and not run.failure and (value := measure.of(run)) is not None:
            values[run.method][run.seed] = value
    pairs = {}
    for method, other in comparisons(study):
        if seeds := tuple(sorted(values[method].keys() & values[other].keys())):
            pairs[method, other] = seeds, tuple(values[method][seed] - values[other][seed] for seed in seeds)
    tests = {pair: paired_p(differences) for pair, (_, differences) in pairs.items() if has_spread(differences)}
    corrected = dict(zip(tests, holm(list(tests.values()))))
    return [
        _answer(network, pair, measure, seeds, differences, tests.get(pair), corrected.get(pair), len(tests))
        for pair, (seeds, differences) in pairs.items()
    ]


def _answer(
    network: str,
    pair: tuple[str, str],
    measure: _Measure,
    seeds: tuple[int, ...],
    differences: tuple[float, ...],
    p: float | None,
    corrected: float | None,
    comparisons: int,
) -> Answer:
    mean = fmean(differences)
    limits = None if p is None else interval(differences)
    verdict: Verdict = "undecided" if len(seeds) > 1 else "one repeat"
    more = None
    if limits and corrected is not None:
        if corrected < LEVEL:
            verdict = "better" if (mean > 0) == measure.more_is_better else "worse"
        elif measure.effect is not None:
            if max(map(abs, limits)) < measure.effect:
                verdict = "alike"
            else:  # at the level of Holm's first step, the strictest
                needed = pairs_needed(measure.effect, stdev(differences), LEVEL / comparisons)
                more = max(0, needed - len(seeds))
    return Answer(
        network,
        *pair,
        measure.name,
        measure.model,
        measure.images,
        measure.unit,
        seeds,
        differences,
        mean,
        limits,
        p,
        corrected,
        comparisons,
        verdict,
        measure.effect,
        more,
    )


def comparisons(study: Study) -> Iterator[tuple[str, str]]:
    """Which methods are held against which: each against its counterpart, and PLP against its control too."""
    for method in study.methods:
        for other in (study.counterpart(method), study.control(method)):
            if other and other != method:
                yield method, other


def _measures(study: Study, network: str, effect: float, accuracies: Sequence[float] | None) -> Iterator[_Measure]:
    """All that runs are compared by; ``accuracies`` are those to be reached, fractions."""
    held_out = "validation" if study.settings.validation else "training"
    runs = [run for run in study.runs if run.network == network and not run.failure]
    yield from _metrics("optimal", study.settings.test or held_out, lambda run: run.outcome, effect)
    if study.settings.validation:  # without it the last model is the optimal one
        if all(run.last for run in runs):
            yield from _metrics("last", study.settings.test or held_out, lambda run: run.last, effect)
        else:
            yield from _metrics("last", held_out, lambda run: next(reversed(_measured(run)), None), effect)
    if accuracies is None:
        reached = [max((metrics.accuracy for metrics in _measured(run)), default=0.0) for run in runs]
        percent = floor(100 * min(reached, default=0.0) + 1e-9)
        accuracies = [percent / 100] if percent > 0 else []
    for accuracy in accuracies:
        for unit, cost in (("epochs", lambda _: 1.0), ("seconds", lambda epoch: epoch.seconds)):
            yield _Measure(f"{unit} to {100 * accuracy:g} %", "", held_out, unit, _until(accuracy, cost))


def _metrics(model: str, images: str, metrics: Callable[[Run], Metrics | None], effect: float) -> Iterator[_Measure]:
    def of(value: Callable[[Metrics], float]) -> Callable[[Run], float | None]:
        return lambda run: value(found) if (found := metrics(run)) else None

    yield _Measure("accuracy", model, images, "points", of(lambda m: 100 * m.accuracy), True, effect)
    yield _Measure("top-1 error", model, images, "points", of(lambda m: 100 * m.top1_error), False, effect)
    yield _Measure("top-5 error", model, images, "points", of(lambda m: 100 * m.top5_error), False, effect)
    yield _Measure("loss", model, images, "nats", of(lambda m: m.loss))


def _until(accuracy: float, cost: Callable[[Epoch], float]) -> Callable[[Run], float | None]:
    """What all epochs cost until the first that reached an accuracy, it included; None where none did."""

    def of(run: Run) -> float | None:
        totals = accumulate(cost(epoch) for epoch in run.history if epoch.complete)
        return next((total for total, metrics in zip(totals, _measured(run)) if metrics.accuracy >= accuracy), None)

    return of


def _measured(run: Run) -> list[Metrics]:
    """What each complete epoch's model was measured to be, on the images held out where there are any."""
    return [epoch.validation or epoch.train for epoch in run.history if epoch.complete]
