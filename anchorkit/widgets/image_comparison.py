"""What the image explorer shows and says of two configurations; nothing here is a widget."""

from __future__ import annotations

from html import escape
from typing import Any, Protocol

import numpy as np
import pandas as pd

from anchorkit import plots
from anchorkit.analysis.per_image import compare_image, image_changes, match
from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.boxes import box_iou
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.plots.theme import INK

ORDERS = ("hurt most", "helped most", "most changed", "random")
LABELS = ("anchors", "classes", "nothing")
SIDES = ("before", "after")
_BOX = ["x1", "y1", "x2", "y2"]
_MISSED = {"before": "missed", "after": "lost"}
_ONLY = {"before": "different after", "after": "different before"}
_DOWN, _UP = "\N{BLACK DOWN-POINTING TRIANGLE}", "\N{BLACK UP-POINTING TRIANGLE}"


class Detects(Protocol):
    """What the explorer needs of an `anchorkit.Evaluator`."""

    @property
    def layout(self) -> AnchorLayout: ...
    @property
    def ground_truth(self) -> GroundTruth: ...
    def detections(self, configuration: Configuration) -> pd.DataFrame: ...


class ImageComparison:
    """Two configurations compared image by image, at one IoU and one least score.

    Attributes:
        changes: a row an image, see `anchorkit.analysis.per_image.image_changes`.
    """

    def __init__(
        self,
        evaluator: Detects,
        configurations: tuple[Configuration, Configuration],
        min_score: float,
        iou: float,
        names: dict[int, str],
        like: ImageComparison | None = None,
    ) -> None:
        """Compare.

        Args:
            evaluator: computes the detections of a configuration.
            configurations: before and after.
            min_score: detections below it are left out, 0..1.
            iou: overlap from which on a detection finds an object.
            names: of the classes, by category id.
            like: an earlier comparison by the same evaluator, of which what is still true is taken over.
        """
        self.evaluator, self.configurations, self.min_score = evaluator, configurations, min_score
        self._names = names
        known = {} if like is None else like._matched
        self._matched: dict[tuple[int, float], pd.DataFrame] = {}
        for configuration in configurations:
            key = configuration.mask, iou
            if key not in self._matched:
                found = known.get(key)
                if found is None:
                    found = match(evaluator.detections(configuration), evaluator.ground_truth, iou)
                self._matched[key] = found
        self._found = [self._matched[configuration.mask, iou] for configuration in configurations]
        self.changes = image_changes(self._found[0], self._found[1], evaluator.ground_truth, min_score)
        self._things: tuple[int, pd.DataFrame] | None = None

    def ordered(self, order: str) -> pd.DataFrame:
        """The changes in one of `ORDERS`."""
        if order == "random":
            places = np.random.default_rng(0).permutation(len(self.changes))
        else:
            by = self.changes["turnover" if order == "most changed" else "change"].to_numpy()
            places = np.argsort(by if order == "hurt most" else -by, kind="stable")
        return self.changes.iloc[places].reset_index(drop=True)

    def things(self, image_id: int) -> pd.DataFrame:
        """What an image has (see `anchorkit.analysis.per_image.compare_image`), with who found it.

        Also ``name`` (of the class) and for each side ``before_anchor`` (id; empty for none), ``before_score`` (0..1)
        and ``before_iou`` (with the object), and the same of ``after``.
        """
        if self._things is None or self._things[0] != image_id:
            old, new = self._found
            rows = compare_image(old, new, self.evaluator.ground_truth, image_id, self.min_score)
            rows.insert(3, "name", [self._names.get(int(k), f"class {k}") for k in rows["category_id"]])
            ids = self.evaluator.layout.ids
            for side, detections in zip(SIDES, self._found, strict=True):
                makers = [None if at < 0 else detections.iloc[at] for at in rows[side]]
                rows[f"{side}_anchor"] = ["" if maker is None else ids[int(maker["anchor"])] for maker in makers]
                rows[f"{side}_score"] = [np.nan if maker is None else float(maker["score"]) for maker in makers]
                rows[f"{side}_iou"] = [
                    np.nan if maker is None or place < 0 else float(box_iou(_corners(maker), box))
                    for maker, place, box in zip(makers, rows["object"], rows[_BOX].to_numpy(float), strict=True)
                ]
            self._things = image_id, rows
        return self._things[1]

    def boxes(self, image_id: int, side: str, labels: str, only_changes: bool = False) -> pd.DataFrame:
        """The boxes of one side, for `anchorkit.plots.boxes_on_image`; a pick is the side and the row of `things`.

        Args:
            image_id: the image.
            side: one of `SIDES`.
            labels: one of `LABELS`.
            only_changes: label only what differs from the other side.
        """
        rows = []
        for number, thing in enumerate(self.things(image_id).to_dict("records")):
            here, there = thing[side], thing[SIDES[side == "before"]]
            differs = (here < 0) != (there < 0) and thing["kind"] != "neither"
            flag = _DOWN if (thing["kind"] == "object") == (side == "before") else _UP
            if here >= 0:
                maker = self._found[SIDES.index(side)].iloc[here]
                anchor = self.evaluator.layout.anchors[int(maker["anchor"])]
                score = f"{maker['score']:.2f}"
                text = {"anchors": anchor.id, "classes": f"{thing['name']} {score}"}.get(labels, "")
                box, color = [float(maker[name]) for name in _BOX], plots.level_color(anchor.level)
                style = "found" if thing["kind"] == "object" else "false alarm"
                note = f"{_what(thing)}, score {score}\nanchor {anchor.id}"
            elif thing["kind"] == "object":
                text = "" if labels == "nothing" or not differs else f"{_MISSED[side]} {thing['name']}"
                box, color, style = [float(thing[name]) for name in _BOX], INK, "missed"
                note = f"{thing['name']}, not found"
                flag = _UP if side == "before" else _DOWN
            else:
                continue
            rows.append(
                {
                    **dict(zip(_BOX, box, strict=True)),
                    "color": color,
                    "style": style,
                    "label": f"{flag} {text}".strip() if differs else "" if only_changes else text,
                    "marked": differs,
                    "pick": f"{side} {number}",
                    "note": f"{flag} {_ONLY[side]}\n{note}" if differs else note,
                }
            )
        columns = [*_BOX, "color", "style", "label", "marked", "pick", "note"]
        return pd.DataFrame(rows, columns=columns).astype({"marked": bool})

    def told(self, image_id: int) -> str:
        """What an image loses and gains, as HTML."""
        things = self.things(image_id)
        is_object, is_false = things["kind"] == "object", things["kind"] == "false alarm"
        was, there_is = things["before"] >= 0, things["after"] >= 0
        parts = []
        for title, those in (
            ("lost", is_object & was & ~there_is),
            ("newly found", is_object & ~was & there_is),
            ("new false alarms", is_false & ~was),
            ("false alarms gone", is_false & ~there_is),
        ):
            if those.any():
                counts = things[those]["name"].value_counts()
                listed = ", ".join(str(name) if n == 1 else f"{n} × {name}" for name, n in counts.items())
                parts.append(f"{title}: <b>{escape(listed)}</b>")
        return "; ".join(parts) if parts else "nothing is lost or gained"

    def who(self, image_id: int, number: int) -> str:
        """Who makes a thing of the image (row of `things`), before and after, as HTML."""
        thing = self.things(image_id).to_dict("records")[number]
        lines = [f"<b>{escape(_what(thing, 'object: {}').capitalize())}</b>"]
        for place, side in enumerate(SIDES):
            if thing[side] >= 0:
                overlap = f", IoU {thing[f'{side}_iou']:.2f}" if thing["kind"] == "object" else ""
                text = f"{thing[f'{side}_anchor']}, score {thing[f'{side}_score']:.2f}{overlap}."
            elif thing["kind"] == "object":
                text = self._nearest(thing, image_id, place)
            else:
                text = "no such box."
            other = thing[f"{SIDES[1 - place]}_anchor"]
            if other and other not in self.configurations[place]:
                text += f" ({other} is not kept.)"
            lines.append(f"{side.capitalize()}: {escape(text)}")
        return "<br>".join(lines)

    def _nearest(self, thing: dict[Any, Any], image_id: int, place: int) -> str:
        """Why an object is not found: what comes nearest to it."""
        found = self._found[place]
        same = found[(found["image_id"] == image_id) & (found["category_id"] == thing["category_id"])]
        box = np.array([thing[name] for name in _BOX], float)
        overlaps = [float(box_iou(_corners(row), box)) for _, row in same.iterrows()]
        if not overlaps or max(overlaps) == 0:
            return "not found; no box of the class touches it."
        nearest = same.iloc[int(np.argmax(overlaps))]
        anchor = self.evaluator.layout.ids[int(nearest["anchor"])]
        at = f"score {nearest['score']:.2f}, IoU {max(overlaps):.2f}"
        return f"not found; the nearest box of the class is by {anchor}, {at}."


def _what(thing: dict[Any, Any], of_object: str = "finds {}") -> str:
    name = thing["name"]
    kinds = {"object": of_object.format(name), "false alarm": f"false alarm: {name}"}
    return kinds.get(thing["kind"], f"{name}, counts neither way")


def _corners(row: pd.Series[Any]) -> np.ndarray:
    return np.array([row[name] for name in _BOX], float)
