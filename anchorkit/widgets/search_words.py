"""What the search explorer says in words (HTML)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape, unescape

from anchorkit.anchors import Configuration
from anchorkit.plots.frames import change, points, signed
from anchorkit.widgets.search_runs import SearchRun
from anchorkit.widgets.search_view import View


def status(view: View | None, state: str, error: Exception | None) -> str:
    """How far the search is."""
    if error is not None:
        return f"<b>{escape(str(error) or type(error).__name__)}</b>"
    if view is None:
        return "Press Start to search." if state == "idle" else "Starting \N{HORIZONTAL ELLIPSIS}"
    done = f"{view.evaluated:,} configurations, {len(view.frontier)} on the frontier"
    if state == "idle":
        return f"{'Done' if view.complete else 'Stopped early'}: {done}."
    speed = "" if view.per_second is None else f", {view.per_second:,.0f} a second"
    word = {"running": "Searching", "paused": "Paused", "stopping": "Stopping"}[state]
    return f"{word}: {done}{speed if state == 'running' else ''}."


def answer(view: View, found: Configuration | None, max_loss: float | None, budget: float | None) -> str:
    """The answer to the limits, or why there is none; the knee and the hypervolume."""
    cost, metric = view.settings.cost, view.settings.metric

    def point(configuration: Configuration) -> str:
        accuracy, costs = view.value(configuration, "accuracy"), view.value(configuration, cost)
        lost = signed(round(100 * (accuracy - float(view.full["accuracy"])), 2) + 0.0, 2)
        spent = f"{view.scale.text(costs)} ({change(float(view.full[cost]), costs)})"
        removed = view.channels(configuration)
        of = f", {escape(removed)}" if removed else ""
        return f"{len(configuration)} anchors{of}, {escape(metric)} {points(accuracy)} ({lost}), {spent}"

    if found is not None and view.label(found) in view.frontier.index:
        best = "the most accurate" if max_loss is None else "the cheapest"
        said = f"<b>Answer</b>, {best} {_limits(view, max_loss, budget)}: {point(found)}"
    elif max_loss is None and budget is None:
        said = "No limit is set, so there is no answer."
    else:
        said = f"<b>No point of the frontier keeps to that.</b> {_nearest(view, max_loss)}"
    share = f"Hypervolume {view.hypervolume():.3f} (from {escape(metric)} 0 at the cost of all anchors)."
    return f"{said}.<br>Knee: {point(view.knee())}.<br>{share}" if found else f"{said}<br>{share}"


def _limits(view: View, max_loss: float | None, budget: float | None) -> str:
    limits = []
    if max_loss is not None:
        limits.append(f"that loses at most {100 * max_loss:g} points")
    if budget is not None:
        limits.append(f"for at most {view.scale.text(budget)}")
    return " ".join(limits)


def results(runs: Mapping[str, SearchRun], front: str | None) -> str:
    """The searches that are over."""
    if not runs:
        return "Searches that are over are kept here, each with its frontier."
    metric = None if front is None else runs[front].settings.metric
    lines = []
    for name, run in runs.items():
        notes = [f"hypervolume {run.result.hypervolume():.3f}", f"{len(run.result.frontier)} points"]
        if not run.result.complete:
            notes.append("stopped early")
        if run.settings.metric != metric:
            notes.append("another metric, so not drawn")
        mark = f"<b>{escape(name)}</b>" if name == front else escape(name)
        lines.append(f"<li>{mark}: {', '.join(notes)}</li>")
    return f'<ul style="margin:2px 0;padding-left:16px;list-style:none">{"".join(lines)}</ul>'


def notes(view: View) -> dict[str, str]:
    """What each point of a frontier lacks: channels and, level by level, anchors; plain text."""
    found = {name: (view.channels(one), removed(one)) for name, one in view.configurations.items()}
    return {name: "\n".join(line for line in lines if line) for name, lines in found.items()}


def removed(configuration: Configuration) -> str:
    """Which anchors a configuration lacks, level by level; plain text."""
    gone = set(configuration.dropped)
    if not gone:
        return "every anchor"
    lines = []
    for level in range(len(configuration.layout.levels)):
        there = [anchor for anchor in configuration.layout.anchors if anchor.level == level]
        lost = [anchor.id.split("/")[-1] for anchor in there if anchor.index in gone]
        if lost:
            lines.append(f"level {level}: {'all' if len(lost) == len(there) else ', '.join(lost)}")
    return "removed: " + "; ".join(lines)


def plain(said: str) -> list[str]:
    """HTML as lines of text."""
    return [unescape(re.sub("<[^>]*>", "", line)) for line in said.split("<br>")]


def _nearest(view: View, max_loss: float | None) -> str:
    """What it would take."""
    cost = view.settings.cost
    if max_loss is None:
        return f"The cheapest there costs {view.scale.text(float(view.frontier[cost].min()))}."
    enough = view.answer(max_loss, None)
    if enough is None:
        return f"The most accurate there has {points(float(view.frontier['accuracy'].max()))} points."
    return f"Losing no more, the cheapest costs {view.scale.text(view.value(enough, cost))}."
