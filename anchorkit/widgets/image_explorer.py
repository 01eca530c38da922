"""The image explorer: two configurations on real images, those first where the second one hurts most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import altair as alt
import ipywidgets
import numpy as np
import pandas as pd

from anchorkit import plots
from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.plots.frames import signed
from anchorkit.widgets.explorer import Explorer, button, notice_of, row
from anchorkit.widgets.html_parts import block, quiet
from anchorkit.widgets.image_comparison import LABELS, ORDERS, SIDES, Detects, ImageComparison
from anchorkit.widgets.picture import Picture

_OVERLAPS = (0.5, 0.75, 0.9)
_KEY = "Solid: finds an object. Dashed: false alarm. Dotted: not found. Yellow: differs between before and after."


class Images(Protocol):
    """What the explorer needs of a data set's split."""

    @property
    def categories(self) -> Sequence[Any]: ...
    @property
    def image_ids(self) -> Sequence[int]: ...
    def image(self, image_id: int) -> np.ndarray: ...


class ImageExplorer(Explorer):
    """What two configurations find on an image, side by side, and which anchor made each box.

    Boxes have the colour of the level of the anchor that made them; solid ones find an object, dashed ones are false
    alarms; objects that are not found are dotted. What differs is marked, and says how (see
    `anchorkit.analysis.per_image` for how much an image changes). A click on a box shows which anchors find its object
    before and after.

    Show it by naming it in a notebook's last line; read `selected` (the image's id) and `things` in the next cell.
    `before` and `after` can be set, for example by a board: ``board.observe(lambda b: explorer.set(after=b.selected))``
    """

    def __init__(
        self,
        evaluator: Detects,
        split: Images,
        before: Configuration,
        after: Configuration,
        *,
        names: dict[int, str] | None = None,
    ) -> None:
        """Start with the image that `after` hurts most.

        Args:
            evaluator: computes the detections of a configuration; an `anchorkit.Evaluator`.
            split: the images that the evaluator's ground truth is of.
            before: a configuration, such as that of all anchors.
            after: the one to compare with it.
            names: of the classes, by category id; by default those of `split`.

        Raises:
            InputError: a configuration is of another layout or keeps no anchor, or `split` lacks an image.
        """
        super().__init__()
        self.notice = notice_of(evaluator)
        self._evaluator, self._split = evaluator, split
        missing = set(evaluator.ground_truth.image_ids.tolist()) - set(split.image_ids)
        if missing:
            raise InputError(
                f"ImageExplorer: the split lacks image {min(missing)} of the evaluator's ground truth; "
                "give the split that the predictions were collected on"
            )
        self._names = names or {category.id: category.name for category in split.categories}
        self._before, self._after = self._checked(before, "before"), self._checked(after, "after")
        self._order, self._min_score, self._iou, self._labels = ORDERS[0], 0.3, _OVERLAPS[0], LABELS[0]
        self._picked: int | None = None
        self._compare(None)
        self._image_id = int(self.changes["image_id"].iloc[0])

    @property
    def selected(self) -> int:
        """The id of the image that is shown; can be set."""
        return self._image_id

    @selected.setter
    def selected(self, image_id: int) -> None:
        if image_id not in set(self.changes["image_id"]):
            raise InputError(f"ImageExplorer: there is no image {image_id!r} in the ground truth")
        self._image_id = int(image_id)
        self._picked = None
        self.changed()

    @property
    def before(self) -> Configuration:
        """The configuration on the left; can be set. The image stays."""
        return self._before

    @before.setter
    def before(self, configuration: Configuration) -> None:
        self.set(before=configuration)

    @property
    def after(self) -> Configuration:
        """The configuration on the right; can be set. The image stays."""
        return self._after

    @after.setter
    def after(self, configuration: Configuration) -> None:
        self.set(after=configuration)

    def set(
        self,
        *,
        before: Configuration | None = None,
        after: Configuration | None = None,
        order: str | None = None,
        min_score: float | None = None,
        iou: float | None = None,
        labels: str | None = None,
    ) -> None:
        """Change what is compared, and how; what is not given stays.

        Args:
            before: configuration on the left.
            after: configuration on the right.
            order: of the images: ``"hurt most"``, ``"helped most"``, ``"most changed"`` or ``"random"``; the first
                image of the order is then shown, while all else leaves the image as it is.
            min_score: detections below are left out, 0..1.
            iou: overlap from which on a detection finds an object, above 0 and up to 1.
            labels: what boxes are labelled with: ``"anchors"``, ``"classes"`` (and scores) or ``"nothing"``.

        Raises:
            InputError: a configuration is of another layout or keeps no anchor, or a value is not among those above.
        """
        for name, value, known in (("order", order, ORDERS), ("labels", labels, LABELS)):
            if value is not None and value not in known:
                raise InputError(f"ImageExplorer: {name} is {value!r}; use one of {', '.join(known)}")
        for name, number in (("min_score", min_score), ("iou", iou)):
            if number is not None and not (0 <= number <= 1 and (number > 0 or name == "min_score")):
                raise InputError(f"ImageExplorer: {name} is {number!r}; a number within 0..1 is needed")
        old, new = self._checked(before or self._before, "before"), self._checked(after or self._after, "after")
        self._before, self._after, self._iou = old, new, iou or self._iou
        self._min_score = self._min_score if min_score is None else float(min_score)
        self._order, self._labels = order or self._order, labels or self._labels
        if (before, after, order, min_score, iou) != (None,) * 5:
            self._picked = None
            self._compare(self._compared)
            if order is not None:
                self._image_id = int(self.changes["image_id"].iloc[0])
        self.changed()

    @property
    def place(self) -> int:
        """The place of the image in the order, counted from 0."""
        return int(np.flatnonzero(self.changes["image_id"].to_numpy() == self._image_id)[0])

    def go(self, place: int) -> None:
        """Show the image at a place of the order, counted from 0; beyond an end, the one at the end."""
        place = min(max(place, 0), len(self.changes) - 1)
        self.selected = int(self.changes["image_id"].iloc[place])

    @property
    def things(self) -> pd.DataFrame:
        """What the shown image has, and who found it.

        A row an object, then a row a false alarm: see `anchorkit.analysis.per_image.compare_image`. Also ``name``
        (of the class) and for each side ``before_anchor`` (id; empty for none), ``before_score`` (0..1) and
        ``before_iou`` (with the object), and the same of ``after``.
        """
        return self._compared.things(self._image_id).copy()

    def picture(self, *, pickable: bool = False) -> plots.AnyChart:
        """The shown image, before and after."""
        titles = f"Before: {_anchors(self._before)}", f"After: {_anchors(self._after)}"
        return self._pair(self._image_id, 440, 400, titles, labels=self._labels, pickable=pickable)

    def show(self) -> plots.AnyChart:
        """The first four images of the order as one static chart."""
        pairs = [
            self._pair(int(image_id), 210, 200, titles=(f"Image {image_id} before", f"after: {_signed(change)}"))
            for image_id, change in self.changes[["image_id", "change"]].head(4).itertuples(index=False)
        ]
        titles = {"random": "Some images", "most changed": "The images that change most"}
        title = titles.get(self._order, f"The images that are {self._order}")
        numbers = f"{_anchors(self._before)} before, {len(self._after)} after"
        heading = self.titled(f"{title}: {numbers}", _KEY)
        sheet: plots.AnyChart = alt.concat(*pairs, columns=2, spacing=24, title=heading)
        return sheet

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        self._picture = Picture("the image before and after: pick a box to see who made it", self._box_picked)
        self._said, self._details = ipywidgets.HTML(), ipywidgets.HTML()
        wide = {"style": {"description_width": "initial"}}
        late = {**wide, "continuous_update": False, "layout": {"width": "19em"}}
        narrow = {**wide, "layout": {"width": "auto"}}
        places = {"min": 0, "max": len(self.changes) - 1, "readout": False}
        scores = {"value": self._min_score, "min": 0.05, "max": 0.95, "step": 0.05}
        self.order = ipywidgets.Dropdown(options=ORDERS, description="Images", **narrow)
        self.slider = ipywidgets.IntSlider(**places, description="Place", **late)
        self.score = ipywidgets.FloatSlider(**scores, description="Score from", **late)
        self.overlap = ipywidgets.Dropdown(options=_OVERLAPS, description="Found from IoU", **narrow)
        self.labels = ipywidgets.Dropdown(options=LABELS, description="Labels", **narrow)
        steps = {
            "First": lambda: self.go(0),
            "Previous": lambda: self.go(self.place - 1),
            "Next": lambda: self.go(self.place + 1),
        }
        self.buttons = {name: button(name, act) for name, act in steps.items()}
        self.draw()  # before anyone listens
        for control, act in (
            (self.order, lambda value: self.set(order=value)),
            (self.slider, self.go),
            (self.score, lambda value: self.set(min_score=value)),
            (self.overlap, lambda value: self.set(iou=value)),
            (self.labels, lambda value: self.set(labels=value)),
        ):
            self.on_change(control, act)
        top = row(self.order, self.slider, *self.buttons.values())
        return ipywidgets.VBox(
            [top, row(self.score, self.overlap, self.labels), self._said, self._picture, self._details]
        )

    def draw(self) -> None:
        """See `Explorer.draw`."""
        self._picture.draw(self.picture(pickable=True))
        self._mark()
        change = self.changes["change"].iloc[self.place]
        where = f"place {self.place + 1:,} of {len(self.changes):,}"
        self._said.value = block(
            f"<b>Image {self._image_id}</b> ({where}): change <b>{_signed(change)}</b> in scores; "
            f"{self._compared.told(self._image_id)}.<br>{quiet(_KEY)}",
            15,
        )
        with self.drawing():
            self.slider.value, self.score.value, self.overlap.value = self.place, self._min_score, self._iou
            self.order.value, self.labels.value = self._order, self._labels
        self.buttons["First"].disabled = self.buttons["Previous"].disabled = self.place == 0
        self.buttons["Next"].disabled = self.place == len(self.changes) - 1

    def __repr__(self) -> str:
        change = self.changes["change"].iloc[self.place]
        return f"ImageExplorer: image {self._image_id}, change {_signed(change)} in scores"

    def _checked(self, configuration: Configuration, what: str) -> Configuration:
        layout = self._evaluator.layout
        if configuration.layout != layout:
            other = configuration.layout.detector
            raise InputError(f"ImageExplorer: {what} is of {other!r}, not of {layout.detector!r}")
        if not configuration:
            raise InputError(f"ImageExplorer: {what} keeps no anchor; at least one is needed")
        return configuration

    def _compare(self, like: ImageComparison | None) -> None:
        """Compare, taking over what is still true of an earlier comparison, and sort the images."""
        both = self._before, self._after
        self._compared = ImageComparison(self._evaluator, both, self._min_score, self._iou, self._names, like)
        self.changes = self._compared.ordered(self._order)

    def _pair(
        self,
        image_id: int,
        width: int,
        height: int,
        titles: tuple[str, str],
        labels: str | None = None,
        pickable: bool = False,
    ) -> plots.AnyChart:
        """An image before and after; without `labels`, only what differs is labelled."""
        pixels = self._split.image(image_id)
        room: dict[str, Any] = {"width": width, "height": height, "pickable": pickable}
        sides = []
        for side, title in zip(SIDES, titles, strict=True):
            boxes = self._compared.boxes(image_id, side, labels or self._labels, only_changes=labels is None)
            sides.append(plots.boxes_on_image(pixels, boxes, title=title, **room))
        pair: plots.AnyChart = alt.hconcat(*sides, spacing=14)
        return pair

    def _box_picked(self, what: str, _: bool) -> None:
        self._picked = int(what.split()[1])
        self._mark()

    def _mark(self) -> None:
        """Ring what was picked on both sides, and say who made it."""
        if self._picked is None:
            said, self._picture.classes = quiet("Pick a box to see who made it, before and after."), {}
        else:
            said = self._compared.who(self._image_id, self._picked)
            self._picture.classes = {f"{side} {self._picked}": "ring" for side in SIDES}
        self._details.value = block(said, 15)


def _anchors(configuration: Configuration) -> str:
    return f"{len(configuration)} anchor{'' if len(configuration) == 1 else 's'}"


def _signed(value: float) -> str:
    return signed(value, 2) if abs(value) >= 0.005 else "0"
