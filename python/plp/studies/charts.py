"""A study's charts for its page, by Vega-Altair: what one hovers over tells its numbers, and legends are the page's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle, product
from math import isnan
from statistics import fmean, stdev
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from ..plots import COLOURS
from ..watched import mean, spread_out
from .answers import of_accuracy
from .curves import HeatMap, Movement, Panel, heat_maps, movement_panels, panels
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
            "p": f"p {p_text(a.corrected_p)}" if a.interval else a.verdict,
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
        {"method": method, "epoch": round(epoch, 3), "mean": fmean(column), "n": len(column)}
        | ({"low": fmean(column) - stdev(column), "high": fmean(column) + stdev(column)} if len(column) > 1 else {})
        for method, curves in panel.curves.items()
        for epoch, column in zip(panel.epochs.get(method) or count(1), zip(*curves))
        if not any(map(isnan, column))
    ]
    axis = (
        alt.Axis() if panel.epochs else alt.Axis(format="d", labelExpr="datum.value % 1 ? '' : datum.label")
    )  # whole epochs
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=axis, scale=alt.Scale(nice=False))
    )
    dash = alt.StrokeDash(
        "method:N",
        legend=None,
        scale=alt.Scale(domain=list(study.methods), range=[_DASHES[dash] for _, dash in looks(study).values()]),
    )
    near = alt.selection_point(nearest=True, on="pointerover", fields=["epoch", "method"], empty=False)
    mean = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
    tips = ["method:N", "epoch:Q", *(alt.Tooltip(f"{part}:Q", format=".4g") for part in ("mean", "low", "high")), "n:Q"]
    lines = {"": 0.0} if panel.is_difference else panel.lines
    levels = alt.Chart(alt.Data(values=[{"name": name, "level": level} for name, level in lines.items()]))
    level = alt.Y("level:Q", title=None)
    layers = [
        *[levels.mark_rule(color=INK, opacity=0.5, strokeDash=[6, 4] if panel.lines else [1, 0]).encode(y=level)]
        * bool(lines),
        *[
            levels.mark_text(color=INK, align="right", baseline="bottom", dy=-3).encode(
                x=alt.value("width"), y=level, text="name:N"
            )
        ]
        * bool(panel.lines),
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
    against = "".join(f"; the line: {name}" for name in panel.lines)
    shows = f"{panel.title} by epoch; at the end: {ends}{against}"
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


def movement_charts(study: Study, found: Sequence[Movement]) -> list[Chart]:
    """Of what was watched: the prediction's cosine and error, both by layer, and the ways of some parameters."""
    charts = [_curve_chart(study, panel) for panel in movement_panels(found)]
    for each in found:
        expected = each.first.expected_cosine
        if expected is None:
            charts.append(_layer_chart(f"{each.method}: cosine, by layer", each, each.cosine))
        else:
            title = f"{each.method}: cosine above independent gradients', by layer"
            charts.append(_layer_chart(title, each, each.cosine - expected, is_difference=True))
        charts.append(_layer_chart(f"{each.method}: error, by layer", each, each.error))
        if each.first.trajectories.size:
            charts.append(_trajectory_chart(each))
    return charts


def _layer_chart(title: str, movement: Movement, values: NDArray[np.float64], *, is_difference: bool = False) -> Chart:
    """Values [stretches, layers]; the colours of differences lie about 0."""
    rows = [
        {"layer": layer, "from": round(start, 3), "to": round(end, 3), "value": round(float(value), 4)}
        for start, end, stretch in zip(movement.edges, movement.edges[1:], values)
        for layer, value in enumerate(stretch)
        if not isnan(value)
    ]
    low, high = np.nanquantile(values, (0.01, 0.99))  # so that no single layer takes all colours
    colours = alt.Scale(scheme="viridis", domain=[low, high], clamp=True)
    if is_difference:
        largest = max(abs(low), abs(high)) or 1.0
        colours = alt.Scale(scheme="redblue", domain=[-largest, largest], clamp=True)
    layers = movement.first.layers
    chart = (
        alt.Chart(alt.Data(values=rows))
        .transform_calculate(name=f"{json.dumps(layers)}[datum.layer]", below="datum.layer + 1")
        .mark_rect()
        .encode(
            x=alt.X("from:Q", title="epoch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False)),
            x2="to:Q",
            y=alt.Y(
                "layer:Q",
                title="layer, from the input on",
                scale=alt.Scale(reverse=True, nice=False),
                axis=alt.Axis(labels=False, ticks=False, grid=False),
            ),
            y2="below:Q",
            color=alt.Color(
                "value:Q",
                scale=colours,
                legend=alt.Legend(title=None, orient="bottom", gradientThickness=8, labelColor=INK),
            ),
            tooltip=["name:N", *(alt.Tooltip(f"{part}:Q", format=".4g") for part in ("from", "to", "value"))],
        )
    )
    of_layers = mean(values)
    known = {layer: value for layer, value in zip(layers, of_layers) if not isnan(value)}
    least, most = (choice(known, key=known.__getitem__) for choice in (min, max))
    shows = f"{title} and epoch; on average least in {least}, {known[least]:.3g}, most in {most}, {known[most]:.3g}"
    return Chart(title, shows, _spec(chart, shows, height=320))


def _trajectory_chart(movement: Movement) -> Chart:
    ways = movement.first.trajectories[:, :, 0]
    shown = spread_out(ways.shape[1], len(LOOKS) // 2)
    layers = [movement.first.layers[layer] for layer in shown]
    rows = [
        {"epoch": round((iteration + 1) / movement.epoch, 3), "layer": name, "way": float(f"{way:.4g}")}
        for name, layer in zip(layers, shown)
        for iteration in spread_out(len(ways), 200)
        for way in [ways[iteration, layer] - ways[0, layer]]
    ]
    title = f"{movement.method}: a parameter's way since iteration 1, in some layers"
    colours = [colour for colour, _ in LOOKS[: len(layers)]]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.2)
        .encode(
            x=alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False)),
            y=alt.Y("way:Q", title=None),
            color=alt.Color(
                "layer:N",
                scale=alt.Scale(domain=layers, range=colours),
                legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300, labelColor=INK),
            ),
            tooltip=["layer:N", alt.Tooltip("epoch:Q"), alt.Tooltip("way:Q")],
        )
    )
    shows = f"{title}: {', '.join(layers)}"
    return Chart(title, shows, _spec(chart, shows, height=260))


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
