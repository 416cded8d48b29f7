"""A study's charts for its page, by Vega-Altair: what one hovers over tells its numbers, and legends are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, product
from statistics import fmean, stdev
from typing import Any

import altair as alt

from ..plots import COLOURS
from .answers import of_accuracy
from .curves import HeatMap, Panel, heat_maps, panels
from .grids import Grid, grid_of
from .records import Answer, Study
from .statistics import p_text

INK = "currentColor"  # the page's, light or dark, on screen and on paper

# Black would not be seen on a dark page.
LOOKS = [(colour if colour != "#000000" else INK, dash) for dash, colour in product(("solid", "dashed"), COLOURS)]

_DASHES = {"solid": [1, 0], "dashed": [6, 4]}

_FEW = 3  #: methods whose bands do not hide each other; of more each shows its band when it is picked

_FONT = "system-ui, sans-serif"


@dataclass(frozen=True)
class Chart:
    """``shows`` is what those hear who do not see it."""

    title: str
    shows: str
    spec: dict[str, Any]


def vega_lite() -> str:
    """The version of Vega-Lite that the charts are of."""
    return ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def looks(study: Study) -> dict[str, tuple[str, str]]:
    """Colour and dash of each method."""
    return dict(zip(study.methods, cycle(LOOKS)))


def network_charts(study: Study, network: str) -> list[Chart]:
    """What the paired runs answer, then the curves, then, where methods are a grid, heat maps."""
    answers = of_accuracy(study, network)
    charts = [_answer_chart(study, answers)] if answers else []
    charts += [_curve_chart(study, panel) for panel in panels(study, network) if panel.curves]
    if grid := grid_of(study):
        maps = heat_maps(study, network, grid, answers)
        charts += [_heat_chart(grid, heat_map) for heat_map in maps if heat_map.values]
    return charts


def _answer_chart(study: Study, answers: Sequence[Answer]) -> Chart:
    rows = [
        {
            "place": place,
            "method": a.method,
            "pair": f"{a.method} - {a.other}",
            "mean": a.mean,
            "low": a.interval[0] if a.interval else None,
            "high": a.interval[1] if a.interval else None,
            "difference": a.difference,
            "p": f"p {p_text(a.corrected_p)}" if a.interval else "one repeat",
            "n": len(a.seeds),
            "verdict": a.verdict,
        }
        for place, a in enumerate(answers)
    ]
    seeds = [
        {"place": place, "method": a.method, "pair": f"{a.method} - {a.other}", "seed": seed, "difference": difference}
        for place, a in enumerate(answers)
        for seed, difference in zip(a.seeds, a.differences)
    ]
    title = f"accuracy on {study.measured_on}, difference in points"
    # A line of text above each interval: names of any length fit any width.
    y = alt.Y("place:O", axis=None, scale=alt.Scale(padding=0.1))
    tips = [alt.Tooltip(f"{name}:N") for name in ("pair", "difference", "p", "n", "verdict")]
    base = alt.Chart(alt.Data(values=rows)).encode(y=y, opacity=_picked(1, 0.2), tooltip=tips)
    within = base.transform_filter("isValid(datum.low)")
    decided = "datum.verdict == 'better' || datum.verdict == 'worse'"
    layers = [
        alt.Chart(alt.Data(values=[{}])).mark_rule(color=INK, opacity=0.5).encode(x=alt.datum(0)),
        within.mark_bar(height=3, yOffset=6).encode(
            x=alt.X("low:Q", title=None, scale=alt.Scale(padding=12), axis=alt.Axis(tickCount=5)),
            x2="high:Q",
            color=_colour(study),
        ),
        alt.Chart(alt.Data(values=seeds))
        .mark_point(size=22, filled=True, yOffset=18)
        .encode(
            x="difference:Q",
            y=y,
            color=_colour(study),
            opacity=_picked(0.7, 0.15),
            tooltip=[alt.Tooltip("pair:N"), alt.Tooltip("seed:Q"), alt.Tooltip("difference:Q", format="+.2f")],
        ),
        base.mark_point(size=90, filled=True, yOffset=6).encode(
            x="mean:Q",
            stroke=_colour(study),
            fill=alt.condition(decided, _colour(study), alt.value("var(--paper)")),
            strokeWidth=alt.value(2),
        ),
        base.mark_text(align="left", dy=-14, color=INK).encode(x=alt.value(0), text="pair:N"),
        base.mark_text(align="right", dy=-14, color=INK).encode(x=alt.value("width"), text="p:N"),
    ]
    shows = f"{title}: " + "; ".join(f"{row['pair']} {row['difference']}, {row['p']}" for row in rows)
    return Chart(title, shows, _spec(alt.layer(*layers), shows, height=52 * len(rows)))


def _curve_chart(study: Study, panel: Panel) -> Chart:
    rows = [
        {"method": method, "epoch": epoch, "mean": fmean(column), "n": len(column)}
        | ({"low": fmean(column) - stdev(column), "high": fmean(column) + stdev(column)} if len(column) > 1 else {})
        for method, curves in panel.curves.items()
        for epoch, column in enumerate(zip(*curves), 1)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
    )
    dash = alt.StrokeDash(
        "method:N",
        legend=None,
        scale=alt.Scale(domain=list(study.methods), range=[_DASHES[dash] for _, dash in looks(study).values()]),
    )
    near = alt.selection_point(nearest=True, on="pointerover", fields=["epoch", "method"], empty=False)
    mean = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
    tips = ["method:N", "epoch:Q", *(alt.Tooltip(f"{part}:Q", format=".4g") for part in ("mean", "low", "high")), "n:Q"]
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color=INK, opacity=0.5).encode(y=alt.datum(0))
    layers = [
        *[zero] * panel.is_difference,
        base.mark_area().encode(
            y=alt.Y("low:Q", title=None, scale=alt.Scale(zero=False)),
            y2="high:Q",
            color=_colour(study),
            opacity=_picked(0.2, 0, 0.15 if len(panel.curves) <= _FEW else 0),
        ),
        base.mark_line(point={"size": 14, "strokeWidth": 0}).encode(
            y=mean, color=_colour(study), strokeDash=dash, opacity=_picked(1, 0.15)
        ),
        base.mark_point(size=70, filled=True)
        .encode(
            y=mean,
            color=_colour(study),
            opacity=alt.condition(near, alt.value(1), alt.value(0)),
            tooltip=tips,
        )
        .add_params(near),
    ]
    last = {row["method"]: row for row in rows}
    ends = ", ".join(f"{method} {row['mean']:.4g}" for method, row in last.items())
    shows = f"{panel.title} by epoch; at the end: {ends}"
    return Chart(panel.title, shows, _spec(alt.layer(*layers), shows, height=260))


def _heat_chart(grid: Grid, heat_map: HeatMap) -> Chart:
    low, high = heat_map.limits
    if heat_map.answers:
        colours = alt.Scale(scheme="redblue", domain=[low, high])
    else:
        colours = alt.Scale(scheme="cividis", zero=False)
    rows = []
    for (row, column), value in heat_map.values.items():
        answer = heat_map.answers.get((row, column))
        share = (value - low) / (high - low) if high > low else 0.5
        rows.append(
            {
                "row": row,
                "column": column,
                "value": value,
                "number": f"{value:+.2f}" if answer else f"{value:.2f}",
                "p": f"p {p_text(answer.corrected_p)}" if answer and answer.interval else "",
                "decided": bool(answer and answer.is_decided),
                "dark": share < 0.15 or share > 0.85 if answer else share < 0.5,
            }
        )
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("column:O", title=grid.across, sort=grid.columns, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:O", title=grid.down or None, sort=grid.rows),
        tooltip=["row:N", "column:N", "number:N", "p:N"],
    )
    ink = alt.condition("datum.dark", alt.value("#fff"), alt.value("#000"))
    layers = [
        base.mark_rect().encode(color=alt.Color("value:Q", scale=colours, legend=None)),
        base.transform_filter("!datum.decided").mark_text(dy=-7).encode(text="number:N", color=ink),
        base.transform_filter("datum.decided").mark_text(dy=-7, fontWeight="bold").encode(text="number:N", color=ink),
        base.mark_text(dy=8, fontSize=10).encode(text="p:N", color=ink),
    ]
    shows = f"{heat_map.title} by {grid.across}{' and ' * bool(grid.down)}{grid.down}: " + "; ".join(
        f"{r['row']} {r['column']}: {r['number']} {r['p']}" for r in rows
    )
    return Chart(heat_map.title, shows, _spec(alt.layer(*layers), shows, height=48 * len(grid.rows)))


def _colour(study: Study) -> alt.Color:
    colours = [colour for colour, _ in looks(study).values()]
    return alt.Color("method:N", legend=None, scale=alt.Scale(domain=list(study.methods), range=colours))


def _picked(this: float, others: float, all_alike: float | None = None) -> Any:
    """How much is seen of what is picked in the page's legend, of all else then, and where nothing is picked."""
    nothing = this if all_alike is None else all_alike
    return alt.value(alt.expr(f"picked == '' ? {nothing} : picked == datum.method ? {this} : {others}"))


def _spec(chart: Any, shows: str, height: float) -> dict[str, Any]:
    """As wide as its place on the page, in the page's font and colours."""
    ink = {"labelColor": INK, "titleColor": INK}
    axis = {**ink, "domainColor": INK, "tickColor": INK, "gridColor": INK, "gridOpacity": 0.15, "domainOpacity": 0.4}
    return (
        chart.add_params(alt.param(name="picked", value=""))
        .properties(width="container", height=height, description=shows, background="transparent")
        .configure(font=_FONT, axis={**axis, "titleFontWeight": "normal"}, view={"stroke": None})
        .to_dict()
    )
