"""The channel explorer: choose how many channels go and see what is left; measure the AP of what looks good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import pandas as pd

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.plots.frames import change, points
from anchorkit.plots.theme import is_dark
from anchorkit.widgets import channel_words as words
from anchorkit.widgets.background import Background
from anchorkit.widgets.explorer import Explorer, button, row
from anchorkit.widgets.html_parts import block
from anchorkit.widgets.numbers import numbers_html
from anchorkit.widgets.picture import Picture

if TYPE_CHECKING:
    from anchorkit.channels import ChannelStatistics
    from anchorkit.datasets import Split
    from anchorkit.detectors import Detector

WAYS = {"channels that go": "ratio", "multiply-adds that stay": "flops"}
"""What the slider sets, by the name of its toggle."""
_BESIDE = 220
"""Width of the plot in pixels where figures stand beside it."""
_COLUMNS = ["ratio", "flops", "importance", "fold", "macs", "parameters", "accuracy"]


class ChannelExplorer(Explorer):
    """Choose how many channels go, see widths and costs at once, and measure the AP of a choice when asked.

    Images are looked at once, when the explorer is made; moving the slider runs no network. Show it by naming it in a
    notebook's last line. In the next cell, `selected` has the arguments for `anchorkit.prune_channels`, and `measured`
    what was measured so far.

    Attributes:
        statistics: what the training images say about the channels.

    Examples:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> explorer = ak.ChannelExplorer(detector, data.train, data.val, images=4)
        >>> explorer.set(ratio=0.3)
        >>> explorer.macs, explorer.parameters
        ((112419072, 61527825), (716600, 409935))
        >>> small = ak.prune_channels(detector, explorer.statistics, **explorer.selected, progress=False)
        >>> small.parameters
        409935
    """

    def __init__(
        self,
        detector: Detector,
        data: Split | ChannelStatistics,
        val: Split,
        *,
        ratio: float = 0.2,
        importance: str = "nuclear",
        accuracy: float | None = None,
        images: int = 64,
        seed: int = 0,
    ) -> None:
        """Look at the images and begin with one ratio for all groups.

        Args:
            detector: the detector; it stays as it is.
            data: training images, or what `anchorkit.channels.gather_statistics` found on them.
            val: the images that AP is measured on.
            ratio: share of the channels of every group that go at first, 0 <= ratio < 1.
            importance: the score at first, one of `anchorkit.channels.IMPORTANCES`.
            accuracy: AP of the detector on `val`, 0..1, if it is known; otherwise it is measured with the first choice.
            images: number of training images to look at.
            seed: of the draw of these images, and of the score ``"random"``.

        Raises:
            InputError: no channel can go, there are no images, or a value is out of range.
        """
        from anchorkit.channels import ChannelStatistics, gather_statistics

        super().__init__()
        if isinstance(data, ChannelStatistics):
            if data.detector is not detector:
                raise InputError(f"ChannelExplorer: the statistics are of another detector ({data.detector.name})")
            self.statistics = data
        else:
            self.statistics = gather_statistics(detector, data, images, seed=seed)
        self._detector, self._val, self._seed = detector, val, seed
        self._channels = self.statistics.channels
        self._scores: dict[str, dict[str, Any]] = {}
        self._measured: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._done = 0  # images of the measurement that runs
        self._busy = self._error = ""
        self._worker: Background[float] = Background(lambda _: self._worked(), self._failed)
        self._drawer: Background[tuple[str, bool]] = Background(self._drawn, self._failed)
        self._wanted: tuple[Any, ...] = ()  # the widths that were last sent to be drawn
        self.ratio: float | None = None
        self.flops: float | None = None
        self.importance, self.fold = importance, True
        self._counts: dict[str, int] = {}
        self._full = None if accuracy is None else float(accuracy)
        self.notice = None if self._full is None else nothing_can_be_told(self._full)
        self.set(ratio=ratio, importance=importance)

    @property
    def selected(self) -> dict[str, Any]:
        """The choice as arguments of `anchorkit.prune_channels`."""
        asked: dict[str, Any] = {"ratio": self.ratio} if self.flops is None else {"flops": self.flops}
        return {**asked, "importance": self.importance, "fold": self.fold, "seed": self._seed}

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-adds of the whole network, before and after."""
        return self._channels.macs(), self._channels.macs(self._counts)

    @property
    def parameters(self) -> tuple[int, int]:
        """Parameters, before and after."""
        return self._channels.parameters(), self._channels.parameters(self._counts)

    @property
    def widths(self) -> pd.DataFrame:
        """One row per group: ``group``, ``stride``, ``part``, ``channels`` and ``kept``."""
        frame = self._channels.frame
        each = frame["channels"] // frame["atoms"]
        kept = each * [self._counts[name] for name in frame["group"]]
        return frame[["group", "stride", "part", "channels"]].assign(kept=kept)

    @property
    def measured(self) -> pd.DataFrame:
        """One row per choice that was measured: `selected`, ``macs``, ``parameters`` and ``accuracy`` (0..1)."""
        return pd.DataFrame(self._measured, columns=_COLUMNS)

    def set(
        self,
        *,
        ratio: float | None = None,
        flops: float | None = None,
        importance: str | None = None,
        fold: bool | None = None,
    ) -> None:
        """Change the choice; what is not given stays.

        Args:
            ratio: share of the channels of every group that go, 0 <= ratio < 1.
            flops: in place of a ratio, the share of the multiply-adds that stays at most, above 0 and at most 1.
            importance: the score, one of `anchorkit.channels.IMPORTANCES`.
            fold: put what goes into the weights of the layers that read it.

        Raises:
            InputError: a value is out of range, a score is unknown or cannot be computed for this detector, or both a
                ratio and a share of multiply-adds are given. The choice is as before then.
        """
        if ratio is not None and flops is not None:
            raise InputError("ChannelExplorer: give ratio= or flops=, not both")
        from anchorkit.channels import IMPORTANCES

        if importance is not None and importance not in IMPORTANCES:
            raise InputError(f"ChannelExplorer: importance is {importance!r}; use one of {', '.join(IMPORTANCES)}")
        asked = (self.ratio, self.flops) if ratio is flops is None else (ratio, flops)
        score = importance or self.importance
        self._counts = self._stay(*asked, score)
        self.ratio, self.flops = asked
        self.importance, self.fold = score, self.fold if fold is None else fold
        self.changed()

    def measure(self) -> float:
        """The AP (0..1) of the choice on the validation images; the network runs, which takes a while.

        Returns:
            The AP, from `measured` if this choice was measured before.
        """
        known = self._known()
        if known is not None:
            return known
        from anchorkit.channels.pruning import channel_pruning

        selected, macs, parameters = self.selected, self.macs, self.parameters
        if self._full is None:
            self._full = self._accuracy(self._detector)
            self.notice = nothing_can_be_told(self._full)
        whole = macs[0] == macs[1]
        small = self._detector if whole else channel_pruning(self._detector, self.statistics, **selected).detector
        accuracy = self._full if whole else self._accuracy(small)
        line = {**selected, "macs": macs[1], "parameters": parameters[1], "accuracy": accuracy}
        with self._lock:
            self._measured.append(line)
        self.changed()
        return accuracy

    def start(self) -> None:
        """Measure the choice on another thread.

        Raises:
            InputError: something is being measured.
        """
        if self._worker.busy:
            raise InputError("a choice is being measured; wait until it is done")
        self._busy, self._error, self._done = "Pruning", "", 0
        self._worker.submit(self.measure)
        self.changed()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a measurement and a picture that are being made; False if one still is after `seconds` each."""
        return all([self._worker.wait(seconds), self._drawer.wait(seconds)])

    def chart(self, width: int = 460) -> plots.AnyChart:
        """The widths before and after; `width` is that of the plot in pixels."""
        return plots.channel_widths(self.widths, width=width)

    def numbers(self) -> pd.DataFrame:
        """Multiply-adds, parameters and, where they were measured, AP: columns before and after."""
        rows: dict[str, tuple[float, float]] = {"total_flops": self.macs, "parameters": self.parameters}
        known = self._known()
        if known is not None and self._full is not None:
            rows["accuracy"] = self._full, known
        return pd.DataFrame(rows, index=["before", "after"]).T.astype(float)

    def show(self) -> plots.AnyChart:
        """See `Explorer.show`."""
        before, after = (self.numbers()[side] for side in ("before", "after"))
        names = {"total_flops": "multiply-adds", "parameters": "parameters"}
        said = [f"{words} {change(before[name], after[name])}" for name, words in names.items()]
        if "accuracy" in after:
            said.append(f"AP {points(before['accuracy'])} \N{RIGHTWARDS ARROW} {points(after['accuracy'])}")
        title = self.titled(f"{words.choice(self.selected)}: {', '.join(said)}")
        chart: plots.AnyChart = self.chart().properties(title=title)
        return chart

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        from anchorkit.channels import IMPORTANCES

        wide = {"description_width": "initial"}
        self.way = ipywidgets.ToggleButtons(options=WAYS, style={"button_width": "190px"})
        self.slider = ipywidgets.IntSlider(
            description="Share (%)", min=0, max=100, style=wide, layout=ipywidgets.Layout(width="30em")
        )
        self.score = ipywidgets.Dropdown(options=list(IMPORTANCES), description="Score", style=wide)
        self.score.layout.width = "160px"
        self.folding = ipywidgets.Checkbox(description="fold into the next layers", indent=False)
        self.button = button("Measure AP", lambda: self.attempt(self.start))
        self.button.button_style = "primary"
        self.progress = ipywidgets.IntProgress(min=0, max=len(self._val.image_ids))
        self.progress.description = "images"
        self._said, self._figures, self._table = (ipywidgets.HTML() for _ in range(3))
        self._picture = Picture("channels of each group, before and after")
        self.draw()
        for control, act in (
            (self.way, self._way_changed),
            (self.slider, self._moved),
            (self.score, lambda value: self.set(importance=value)),
            (self.folding, lambda value: self.set(fold=value)),
        ):
            self.on_change(control, act)
        side = ipywidgets.VBox(
            [self._figures, row(self.button, self.progress), self._said, self._table],
            layout=ipywidgets.Layout(width="372px", padding="6px 0 0 8px"),
        )
        return ipywidgets.VBox(
            [
                row(self.way, self.score, self.folding),
                self.slider,
                row(self._picture, side, align="flex-start"),
            ]
        )

    def draw(self) -> None:
        """See `Explorer.draw`. Called on any thread."""
        with self._lock:
            with self.drawing():
                self.way.value = "ratio" if self.flops is None else "flops"
                value = self.ratio if self.flops is None else self.flops
                self.slider.min, self.slider.max = (0, 95) if self.flops is None else (5, 100)
                self.slider.value = round(100 * (value or 0))
                self.score.value, self.folding.value = self.importance, self.fold
                self.button.disabled = bool(self._busy)
                self.progress.value = self._done
                self.progress.layout.visibility = "visible" if self._busy else "hidden"
                doing = f"{self._busy} \N{HORIZONTAL ELLIPSIS}" if self._busy else self.notice or ""
                self._said.value = block(f"<b>{escape(self._error or doing)}</b>")
                self._figures.value = numbers_html(self.numbers().rename({"parameters": "Parameters"}))
                self._table.value = words.table(self._measured, (self.macs[0], self.parameters[0]), self._full)
            wanted = (*self._counts.values(), is_dark())
            if wanted != self._wanted:
                self._wanted = wanted
                self._drawer.submit(lambda: (plots.to_pickable_svg(self.chart(_BESIDE)), is_dark()))

    def __repr__(self) -> str:
        return f"ChannelExplorer: {words.choice(self.selected)}, {len(self._measured)} choices measured"

    # What is chosen.

    def _stay(self, ratio: float | None, flops: float | None, importance: str) -> dict[str, int]:
        """How many atoms of each group stay. A ratio says so without a score; a share of multiply-adds needs one."""
        from anchorkit.channels.choosing import keep_by_flops, keep_by_ratio
        from anchorkit.channels.importance import comparable, score

        if flops is None:
            even = {group.name: np.zeros(group.atoms) for group in self._channels.groups}
            keep = keep_by_ratio(self._channels, even, ratio or 0.0)
        else:
            if importance not in self._scores:
                self._scores[importance] = score(importance, self.statistics, self._seed)
            keep = keep_by_flops(self._channels, comparable(importance, self._scores[importance]), flops)
        return {name: len(atoms) for name, atoms in keep.items()}

    def _known(self) -> float | None:
        """The AP of the choice, if it was measured."""
        selected = self.selected.items()
        return next((float(one["accuracy"]) for one in self._measured if selected <= one.items()), None)

    def _accuracy(self, detector: Detector) -> float:
        from anchorkit.evaluation import Evaluator
        from anchorkit.predictions import collect_predictions

        self._done = 0
        table = collect_predictions(detector, _Watched(self._val, self._image_read), progress=False)  # type: ignore[arg-type]
        evaluator = Evaluator(table, self._val.ground_truth)
        return evaluator.accuracy(evaluator.full)

    # What is on the screen.

    def _image_read(self) -> None:
        self._done += 1
        if self.shown:
            self._busy = "Measuring"
            self.progress.value = self._done

    def _worked(self) -> None:
        self._busy = ""
        self.changed()

    def _drawn(self, drawn: tuple[str, bool]) -> None:
        self._picture.put(*drawn)

    def _failed(self, error: Exception) -> None:
        self._busy, self._error = "", str(error) or type(error).__name__
        self.changed()

    def _way_changed(self, way: str) -> None:
        """Go on from where the other way has led: what is shown hardly changes."""
        if way == "ratio":
            gone = 1 - self.widths["kept"].sum() / self.widths["channels"].sum()
            self.set(ratio=min(round(float(gone), 2), 0.95))
        else:
            self.set(flops=min(np.ceil(100 * self.macs[1] / self.macs[0]) / 100, 1.0))

    def _moved(self, value: int) -> None:
        self.set(ratio=value / 100) if self.flops is None else self.set(flops=value / 100)

    def attempt(self, act: Callable[[], None]) -> None:
        """See `Explorer.attempt`; an earlier error goes."""
        self._error = ""
        super().attempt(act)

    def refused(self, why: str) -> None:
        """See `Explorer.refused`: below the button."""
        self._error = why
        self.draw()


class _Watched:
    """A split that reports each image that is read."""

    def __init__(self, split: Split, read: Callable[[], None]) -> None:
        self._split, self._read = split, read
        self.image_ids, self.categories = split.image_ids, split.categories

    def image(self, image_id: int) -> Any:
        self._read()
        return self._split.image(image_id)
