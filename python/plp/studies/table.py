"""A study as a table, and what its numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from .._html import html_lines, html_table
from .._tables import printable, text_table
from .answers import of_accuracy
from .records import Answer, Study
from .statistics import p_text, spread


def table(study: Study) -> list[list[str]]:
    """Rows of text, the heading first."""
    last = _has_last(study)
    rows = [["network", "method", "runs", "accuracy %", *["last %"] * last, "top-1 error", "top-5 error", "loss"]]
    rows[0].append("images/s")
    rows[0].append(f"accuracy - {study.reference}" + (" [95 % interval]" if study.is_repeated else ""))
    rows[0] += ["p (Holm)"] * study.is_repeated
    found = {(a.network, a.method): a for a in of_accuracy(study) if a.other == study.counterpart(a.method)}
    for network in study.networks:
        for method in study.methods:
            runs = [run for run in study.runs if (run.network, run.method) == (network, method)]
            outcomes = study.outcomes(network, method).values()
            if not runs:
                continue
            failures = sum(run.failure is not None for run in runs)
            answer = found.get((network, method))
            rows.append(
                [
                    network,
                    method,
                    f"{len(outcomes)}" + (f" ({failures} failed)" if failures else ""),
                    spread([100 * m.accuracy for m in outcomes], 2),
                    *[spread([100 * run.last.accuracy for run in runs if run.last], 2)] * last,
                    spread([m.top1_error for m in outcomes], 4),
                    spread([m.top5_error for m in outcomes], 4),
                    spread([m.loss for m in outcomes], 3),
                    f"{fmean(run.history.images_per_second for run in runs):,.0f}",
                    answer.difference if answer else "",
                    *[p_text(answer.corrected_p) if answer else ""] * study.is_repeated,
                ]
            )
    return rows


def _has_last(study: Study) -> bool:
    """Whether the last model is another than the optimal one, and was measured too."""
    return bool(study.settings.validation) and any(run.last for run in study.runs)


def caption(study: Study) -> str:
    """What the table's numbers are."""
    means, interval = "", ""
    if study.is_repeated:
        means = "mean ± standard deviation over seeds; "
        interval = (
            ", with the 95 % confidence interval of their mean (Student's t); p: of the paired t-test, corrected by "
            "Holm for the number of comparisons"
        )
    last = "; last %: the accuracy of the last epoch's" if _has_last(study) else ""
    return (
        f"{means}{study.measured_on}, model of {study.chosen_epoch}{last}; epochs: {study.settings.epochs}; "
        f"differences in percentage points, same start and same mini-batches{interval}"
    )


def verdict(study: Study) -> list[str]:
    """What the differences to the baseline, and of PLP to its control, allow to say: a sentence for each pair."""
    several = len(study.networks) > 1
    return [f"{answer.network}, {answer}" if several else str(answer) for answer in of_accuracy(study)]


def answer_table(answers: Sequence[Answer]) -> list[list[str]]:
    """All answers as rows of text, the heading first."""
    rows = [["network", "method", "against", "by", "model", "difference [95 % interval]", "p", "p (Holm)", "n", ""]]
    for a in answers:
        number = [f"{a.difference} {a.unit}", p_text(a.p), p_text(a.corrected_p), str(len(a.seeds)), a.verdict]
        rows.append([a.network, a.method, a.other, a.measure, f"{a.model} ({a.images})".strip(), *number])
    return rows


def text(study: Study) -> str:
    """Table and caption, what may be said of them, and what went wrong."""
    return printable("\n".join([text_table(table(study), keys=2), *_notes(study)]))


def html(study: Study) -> str:
    """The same for a notebook."""
    return html_table(table(study)) + html_lines(_notes(study))


def _notes(study: Study) -> list[str]:
    lines = [caption(study), *verdict(study)]
    lines += [f"{run.name}: {run.failure}" for run in study.runs if run.failure]
    return lines + (["(interrupted)"] if study.interrupted else [])
