"""What a configuration does to the detections: per size, per class, and the reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import pandas as pd

from anchorkit import plots
from anchorkit.analysis.diagnosis import Diagnosis, compare, diagnose
from anchorkit.anchors import Configuration
from anchorkit.plots.frames import points, signed
from anchorkit.widgets.search_runs import Evaluates

_CLASSES = 12
_SIZES = {"small objects": "APs", "medium objects": "APm", "large objects": "APl"}
_IN_WORDS = {
    "classification": "objects given the wrong class",
    "localisation": "badly placed boxes",
    "both": "boxes both badly placed and of the wrong class",
    "duplicate": "objects found twice",
    "background": "boxes around nothing",
    "missed": "objects missed altogether",
}


@dataclass(frozen=True)
class Behaviour:
    """How the detector does with one configuration."""

    stats: dict[str, float]
    per_class: dict[int, float]
    diagnosis: Diagnosis

    @classmethod
    def of(cls, evaluator: Evaluates, configuration: Configuration) -> Behaviour:
        """Ask the evaluator."""
        found = diagnose(evaluator.detections(configuration), evaluator.ground_truth)
        return cls(evaluator.stats(configuration), evaluator.per_class(configuration), found)


@dataclass(frozen=True)
class Details:
    """What changes from every anchor to one configuration.

    Attributes:
        configuration: the one.
        before: with every anchor.
        after: with the configuration.
    """

    configuration: Configuration
    before: Behaviour
    after: Behaviour

    def reasons(self) -> pd.DataFrame:
        """The errors by kind, see `anchorkit.analysis.diagnosis.compare`; ``error`` is a column."""
        return compare(self.before.diagnosis, self.after.diagnosis).rename_axis("error").reset_index()

    def reasons_chart(self, width: int) -> plots.AnyChart:
        """The errors by kind as a chart."""
        return plots.error_changes(self.reasons(), width=width)

    def classes(self, names: Mapping[int, str]) -> pd.DataFrame:
        """The AP of the classes, ``category``, ``before`` and ``after`` (0..1), those that change most first."""
        old, new = self.before.per_class, self.after.per_class
        rows = [(names.get(key, f"class {key}"), was, new[key]) for key, was in old.items()]
        frame = pd.DataFrame(rows, columns=["category", "before", "after"])
        known = frame[(frame["before"] >= 0) & (frame["after"] >= 0)]
        change = (known["after"] - known["before"]).abs()
        return known.loc[change.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)

    def sizes(self) -> pd.DataFrame:
        """The AP of objects by size, ``before`` and ``after`` (0..1; -1 where there are none)."""
        rows = [(self.before.stats[name], self.after.stats[name]) for name in _SIZES.values()]
        return pd.DataFrame(rows, columns=["before", "after"], index=[*_SIZES])

    def html(self, names: Mapping[int, str]) -> str:
        """Sizes and classes as one table, in points."""
        classes = self.classes(names)
        rows = "".join(_row(str(name), *map(float, values)) for name, *values in self.sizes().itertuples())
        shown = classes.head(_CLASSES)
        ranked = shown.assign(change=shown["after"] - shown["before"]).sort_values("change", kind="stable")
        ranked = ranked[["category", "before", "after"]]
        by_class = "".join(_row(str(name), *map(float, values)) for name, *values in ranked.itertuples(index=False))
        of = f", the {_CLASSES} of {len(classes)} that change most" if len(classes) > _CLASSES else ""
        titles = ("AP (points)", "all", "selected", "change")
        head = "".join(f'<th style="text-align:left;padding-right:12px">{title}</th>' for title in titles)
        line = f'<tr><td colspan="4" style="padding-top:8px">by class{of}</td></tr>'
        return f'<table style="border:0;border-spacing:0"><tr>{head}</tr>{rows}{line}{by_class}</table>'

    def sentence(self) -> str:
        """The change of AP50 and its main reason, in words."""
        was, now = self.before.diagnosis.ap50, self.after.diagnosis.ap50
        table = compare(self.before.diagnosis, self.after.diagnosis)
        grew = table["dap_after"] - table["dap_before"]
        said = f"AP50 {points(was)} \N{RIGHTWARDS ARROW} {points(now)} ({_signed(now - was)} points). "
        worst = str(grew.idxmax())
        if grew[worst] >= 5e-4:
            said += f"What hurts more than before: <b>{_IN_WORDS[worst]}</b> ({_signed(grew[worst])} points). "
        helped = str(grew.idxmin())
        if grew[helped] <= -5e-4:
            said += f"What hurts less: {_IN_WORDS[helped]} ({_signed(grew[helped])} points). "
        lost = {name: int(table["lost"][name]) for name in ("missed", "localisation", "classification")}
        words = {"missed": "missed", "localisation": "badly placed", "classification": "given the wrong class"}
        total = sum(lost.values())
        if total:
            now_are = ", ".join(f"{count} {words[name]}" for name, count in lost.items() if count)
            said += f"Of the objects found before, {total:,} {'is' if total == 1 else 'are'} lost: {now_are}."
        else:
            said += "Every object that was found before is still found."
        return said


def _row(name: str, before: float, after: float) -> str:
    known = min(before, after) >= 0
    texts = [points(value) if value >= 0 else "\N{EN DASH}" for value in (before, after)]
    cells = [*texts, _signed(after - before) if known else ""]
    return (
        f'<tr><td style="text-align:left;white-space:nowrap;padding:1px 16px 1px 0">{escape(name)}</td>'
        + "".join(f'<td style="text-align:right;padding:1px 12px 1px 0">{text}</td>' for text in cells)
        + "</tr>"
    )


def _signed(change: float) -> str:
    """A change of an accuracy (0..1) in points."""
    return signed(round(100 * change, 1) + 0.0)
