"""A study as a table, and what its numbers are."""

from __future__ import annotations

from statistics import fmean

from .._tables import text_table
from .records import Study
from .statistics import in_words, spread, with_interval


def table(study: Study) -> list[list[str]]:
    """Rows of text, the heading first."""
    rows = [["network", "method", "runs", "accuracy %", "top-1 error", "top-5 error", "loss", "images/s"]]
    rows[0].append(f"accuracy - {study.baseline}'s" + (" [95 % interval]" if study.is_repeated else ""))
    for network in study.networks:
        for method in study.methods:
            runs = [run for run in study.runs if (run.network, run.method) == (network, method)]
            outcomes = study.outcomes(network, method).values()
            if not runs:
                continue
            failures = sum(run.failure is not None for run in runs)
            differences = study.differences(network, method) if method != study.baseline else []
            rows.append(
                [
                    network,
                    method,
                    f"{len(outcomes)}" + (f" ({failures} failed)" if failures else ""),
                    spread([100 * m.accuracy for m in outcomes], 2),
                    spread([m.top1_error for m in outcomes], 4),
                    spread([m.top5_error for m in outcomes], 4),
                    spread([m.loss for m in outcomes], 3),
                    f"{fmean(run.history.images_per_second for run in runs):,.0f}",
                    with_interval([100 * d for d in differences]),
                ]
            )
    return rows


def caption(study: Study) -> str:
    """What the table's numbers are."""
    means, interval = "", ""
    if study.is_repeated:
        means = "mean ± standard deviation over seeds; "
        interval = ", with the 95 % confidence interval of their mean (Student's t)"
    return (
        f"{means}{study.measured_on}, model of {study.chosen_epoch}, epochs: {study.settings.epochs}; "
        f"differences in percentage points, same start and same mini-batches{interval}"
    )


def verdict(study: Study) -> list[str]:
    """What the differences to the baseline, and of PLP to its control, allow to say: a sentence for each pair."""
    sentences = []
    for network in study.networks:
        where = f"{network}, " if len(study.networks) > 1 else ""
        for method in study.methods:
            for other in (study.baseline, study.control(method)):
                if other and other != method and (pairs := study.differences(network, method, other)):
                    sentences.append(where + in_words(method, other, [100 * d for d in pairs]))
    return sentences


def text(study: Study) -> str:
    """Table and caption, what may be said of them, and what went wrong."""
    lines = [text_table(table(study)), caption(study), *verdict(study)]
    lines += [f"{run.name}: {run.failure}" for run in study.runs if run.failure]
    return "\n".join(lines + (["(interrupted)"] if study.interrupted else []))
