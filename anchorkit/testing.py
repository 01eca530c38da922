"""Does a detector keep the promises that the kit builds on? For people who bring a detector of their own.

Public: `check_detector`. The functions it calls each check one promise and raise an AssertionError of one line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import costs
from anchorkit.datasets import Split
from anchorkit.detectors import (
    Detector,
    RawPredictions,
    boxes_by_anchor,
    list_detectors,
    load_detector,
    prune,
    save_detector,
    to_tensor,
    untrained,
)
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import collect_predictions

__all__ = ["check_detector"]

SCORE_NOISE, BOX_NOISE = 1e-4, 1e-2
"""How much scores and boxes (pixels) may differ: convolutions over fewer filters may sum in another order."""
ACCURACY_NOISE = 1e-6


def check_detector(
    detector: Detector, split: Split, *, images: int = 4, configurations: int = 8, seed: int = 0
) -> dict[str, str]:
    """Check that a detector keeps the promises of `anchorkit.detectors.Detector`.

    It collects raw predictions, compares them with those of the bare network and of pruned copies, counts the
    multiply-adds of these copies, evaluates them, saves the detector and loads it again. The detector is left as it is.
    Use trained weights, or random ones that make scores differ: where all boxes have the same score, an error in their
    order does not show.

    Args:
        detector: any detector; one of yours that subclasses `Detector`, as a rule.
        split: real images, with ground truth.
        images: how many images of the split to use; pruned copies are compared on the first of them.
        configurations: how many random configurations to try beside the fixed ones (one anchor, one level, an empty
            level).
        seed: of the choice of images and configurations.

    Returns:
        For each promise ``"kept"``, or why it was not checked: the detector does not implement `pruned` or `network`,
        has two stages, or is not registered.

    Raises:
        AssertionError: a promise is broken; the message has one line per broken promise. If raw predictions break
            theirs, the others are not checked: they build on it.
        InputError: the split or a number cannot be used.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.testing import check_detector
        >>> data = ak.load_dataset("shapes", train=1, val=4, test=1, progress=False)
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> check_detector(detector, data.val, images=2, configurations=1)["pruning"]
        'kept'
    """
    if images < 1 or configurations < 0:
        raise InputError("check_detector: images must be 1 or more, configurations 0 or more")
    used = split.subset(images, seed)
    pixels = [used.image(image_id) for image_id in used.image_ids]
    tried = list(_configurations(detector.layout, configurations, seed))
    no_surgery = "" if type(detector).pruned is not Detector.pruned else "not checked: pruned() is not implemented"
    no_network = "" if type(detector).network is not Detector.network else "not checked: network() is not implemented"
    if not detector.rows_follow_anchors:
        no_surgery = no_network = "not checked: its boxes are of proposals, not of anchors"
    unknown = "" if detector.architecture in list_detectors() else "not checked: register_detector(name, build) first"
    promises: dict[str, tuple[str, Callable[..., object], list[tuple[object, ...]]]] = {
        "raw predictions": ("", check_raw_predictions, [(pixels,)]),
        "network": (no_network, check_network, [(pixels[0],)]),
        "pruning": (no_surgery, check_pruning, [(kept, pixels[:1]) for kept in tried]),
        "costs": (no_surgery or no_network, check_costs, [(kept,) for kept in tried]),
        "accuracy": (no_surgery, check_accuracy, [(kept, used) for kept in tried[:3]]),
        "saving": (unknown, check_saving, [(pixels[:1],)]),
        "fresh weights": (unknown, check_fresh_weights, [()]),
    }
    report, broken = {}, []
    for promise, (left_out, check, calls) in promises.items():
        report[promise] = left_out or "kept"
        try:
            for arguments in [] if left_out else calls:
                check(detector, *arguments)
        except (AssertionError, InputError) as error:
            broken.append(f"{promise}: {error}")
            if promise == "raw predictions":  # all others build on them
                break
        except Exception as error:
            error.add_note(f"(check_detector was checking this promise: {promise})")
            raise
    if broken:
        raise AssertionError("\n".join([f"{detector.name} breaks {len(broken)} of {len(promises)} promises", *broken]))
    return report


def check_raw_predictions(detector: Detector, images: Sequence[np.ndarray]) -> None:
    """Form and range; every anchor has boxes; an image's predictions do not depend on the others of its batch.

    Args:
        detector: what makes the predictions.
        images: uint8 (H, W, 3).
    """
    together = detector.raw_predictions(images)
    _require(len(together) == len(images), f"{len(images)} images give {len(together)} RawPredictions")
    classes, anchors = len(detector.categories), set(range(len(detector.layout)))
    for number, (image, raw) in enumerate(zip(images, together, strict=True)):
        height, width = image.shape[:2]
        where = f"image {number} ({height} x {width})"
        count = len(raw.anchor)
        for name, array, dtype, shape in (
            ("boxes", raw.boxes, np.float32, (count, 4)),
            ("scores", raw.scores, np.float32, (count, classes)),
            ("anchor", raw.anchor, np.int32, (count,)),
        ):
            _require(
                array.dtype == dtype and array.shape == shape,
                f"{where}: {name} is {array.dtype} {array.shape}; {np.dtype(dtype)} {shape} is needed",
            )
        _require(
            bool(((raw.scores >= 0) & (raw.scores <= 1)).all()),
            f"{where}: a score is outside 0..1 or not a number; apply the sigmoid or softmax",
        )
        _require(
            bool(((raw.boxes >= 0) & (raw.boxes <= np.array([width, height] * 2) + 1e-3)).all()),
            f"{where}: a box is outside the image; give pixels of the original image, clipped to it",
        )
        _require(bool((raw.boxes[:, 2:] >= raw.boxes[:, :2]).all()), f"{where}: a box has x2 < x1 or y2 < y1")
        found = set(raw.anchor.tolist())
        _require(
            found == anchors or (found < anchors and not detector.rows_follow_anchors),
            f"{where}: anchor has the indices {_some(found)}; each of 0 to {len(anchors) - 1} is needed",
        )
        [alone] = detector.raw_predictions([image])
        _compare(alone, raw, f"{where}: predictions alone and in a batch of {len(images)}")


def check_network(detector: Detector, image: np.ndarray) -> None:
    """`Detector.network` gives the raw predictions, in the order of `boxes_by_anchor`.

    Args:
        detector: one that implements `network`.
        image: uint8 (H, W, 3); it is resized to the input's size.
    """
    height, width = detector.layout.input_size
    resized = np.asarray(Image.fromarray(image).resize((width, height)))
    anchor, classes = boxes_by_anchor(detector.layout), len(detector.categories)
    with torch.inference_mode():
        scores, boxes = detector.network()(to_tensor(resized, detector.device)[None])
    for name, tensor, columns in (("scores", scores, classes), ("boxes", boxes, 4)):
        found, shape = tuple(tensor.shape), (1, len(anchor), columns)
        _require(found == shape, f"an image of the input's size gives {name} {found}, not {shape}")
    [raw] = detector.raw_predictions([resized])
    bare = RawPredictions(boxes[0].cpu().numpy(), scores[0].cpu().numpy(), anchor)
    _compare(bare, raw, "network(), in the order of boxes_by_anchor, and raw_predictions()")


def check_pruning(detector: Detector, configuration: Configuration, images: Sequence[np.ndarray]) -> Detector:
    """Raw predictions of the pruned detector are those of the full one for the kept anchors, in the same order.

    Args:
        detector: the full detector, one that implements `pruned`.
        configuration: of its layout, with at least one anchor.
        images: uint8 (H, W, 3).

    Returns:
        The pruned detector.
    """
    where, small = _keeping(configuration), prune(detector, configuration)
    per_level, levels = configuration.per_level, len(small.layout.levels)
    of_small = small.layout.full.per_level
    _require(
        of_small == per_level[:levels] and not sum(per_level[levels:]),
        f"{where}: the pruned layout has {of_small} anchors per level, not {per_level}",
    )
    _require(small.categories == detector.categories, f"{where}: pruned() changes the categories")
    _require(small.postprocess == detector.postprocess, f"{where}: pruned() changes the post-processing")
    kept = np.array(configuration.indices)
    for full, cut in zip(detector.raw_predictions(images), small.raw_predictions(images), strict=True):
        rows = np.isin(full.anchor, kept)
        _require(
            int(rows.sum()) == len(cut.anchor),
            f"{where}: the pruned detector gives {len(cut.anchor)} boxes, the full one {rows.sum()} of these anchors",
        )
        expected = RawPredictions(full.boxes[rows], full.scores[rows], full.anchor[rows])
        found = RawPredictions(cut.boxes, cut.scores, kept[cut.anchor].astype(np.int32))
        _compare(found, expected, f"{where}: predictions of the pruned and of the full detector")
    return small


def check_costs(detector: Detector, configuration: Configuration) -> None:
    """What the layout says a configuration costs is what the network of the pruned detector costs.

    Args:
        detector: the full detector, one that implements `pruned` and `network`.
        configuration: of its layout, with at least one anchor.
    """
    from torch.utils.flop_counter import FlopCounterMode  # not before anchorkit.detectors, see lighter.py

    where, small = _keeping(configuration), prune(detector, configuration)
    layout, full = small.layout, detector.layout.full
    promised = costs(configuration)
    _require(
        promised == costs(layout.full), f"{where}: the pruned layout has costs {costs(layout.full)}, not {promised}"
    )
    blank = torch.zeros(1, 3, *layout.input_size, device=small.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        scores, _ = small.network()(blank)
    counted = counter.get_total_flops() // 2  # two FLOPs are one multiply-add
    _require(
        scores.shape[1] == promised["boxes"], f"{where}: {scores.shape[1]} boxes; the layout says {promised['boxes']}"
    )
    if promised["total_flops"] is not None:
        _require(
            counted == promised["total_flops"],
            f"{where}: torch counts {counted:,} multiply-adds, the layout says {promised['total_flops']:,}; "
            "mend head_macs_fixed, head_macs_per_anchor, trunk_macs or trunk_parts",
        )
    if all(configuration.per_level):  # where a level is empty, parts of the trunk may go too
        fewer, of_full = detector.parameters - small.parameters, costs(full)["head_parameters"]
        assert of_full is not None
        assert promised["head_parameters"] is not None
        said = of_full - promised["head_parameters"]
        _require(
            fewer == said,
            f"{where}: pruning removes {fewer:,} parameters, the layout says {said:,}; mend head_params_fixed or "
            "head_params_per_anchor",
        )


def check_accuracy(detector: Detector, configuration: Configuration, split: Split) -> None:
    """The 12 figures of the pruned detector are those that the evaluator computes before pruning.

    Args:
        detector: the full detector, one that implements `pruned`.
        configuration: of its layout, with at least one anchor.
        split: images with ground truth.
    """
    small = prune(detector, configuration)
    truth = split.ground_truth
    before = Evaluator(collect_predictions(detector, split, progress=False), truth).stats(configuration)
    after = Evaluator(collect_predictions(small, split, progress=False), truth).stats(small.layout.full)
    for name, value in before.items():
        what = f"{_keeping(configuration)}: {name} is {after[name]:.4f} after pruning, the evaluator says {value:.4f}"
        _require(abs(after[name] - value) <= ACCURACY_NOISE, what)


def check_saving(detector: Detector, images: Sequence[np.ndarray], folder: str | Path | None = None) -> None:
    """A detector that was saved is loaded with the same facts and the same bits.

    Args:
        detector: one whose family is registered.
        images: uint8 (H, W, 3).
        folder: where to save it; a temporary folder by default.
    """
    with tempfile.TemporaryDirectory() as temporary:
        again = load_detector(save_detector(detector, folder or temporary))
    for fact in ("architecture", "layout", "categories", "postprocess", "options"):
        _require(
            getattr(again, fact) == getattr(detector, fact),
            f"a loaded detector has another {fact}; build() must take it over from what was saved",
        )
    before, after = detector.raw_predictions(images), again.raw_predictions(images)
    for a, b in zip(before, after, strict=True):
        same = np.array_equal(a.scores, b.scores) and np.array_equal(a.boxes, b.boxes)
        _require(same, "a loaded detector predicts something else; state_dict() or options lack what build() needs")


def check_fresh_weights(detector: Detector) -> None:
    """`untrained` gives the same layout, other weights, and the same weights for the same seed.

    Args:
        detector: one whose family is registered.
    """
    seeds = (10**9 + 7, 10**9 + 7, 10**9 + 9)  # hardly those that the detector was made with
    one, again, other = (untrained(detector, seed) for seed in seeds)
    _require(one.layout == detector.layout, "untrained: the layout is another one; build() must keep size and shapes")
    weights = [[p.detach().cpu() for p in made.module.parameters()] for made in (one, again, other, detector)]
    same = [all(torch.equal(a, b) for a, b in zip(weights[0], others, strict=True)) for others in weights[1:]]
    _require(same[0], "untrained: the same seed gives other weights; draw them with torch's global generator")
    _require(not same[1] and not same[2], "untrained: weights are not fresh; build() must draw them")


def _configurations(layout: AnchorLayout, random: int, seed: int) -> Iterator[Configuration]:
    """All anchors; every second one; the first, the last one; without each level in turn; some at random."""
    count = len(layout)
    yield layout.full
    fixed = [range(0, count, 2), [0], [count - 1]]
    levels = range(len(layout.levels))
    fixed += [[anchor.index for anchor in layout.anchors if anchor.level != level] for level in levels]
    rng = np.random.default_rng(seed)
    drawn = [np.flatnonzero(rng.random(count) < rng.uniform(0.2, 0.8)).tolist() for _ in range(random)]
    yield from (layout.configuration(keep=keep) for keep in [*fixed, *drawn] if keep)


def _compare(ours: RawPredictions, theirs: RawPredictions, what: str) -> None:
    """Raise an AssertionError unless both have the same anchors, and scores and boxes that differ by noise only."""
    _require(np.array_equal(ours.anchor, theirs.anchor), f"{what} have other anchors, or the same in another order")
    for name, noise in (("scores", SCORE_NOISE), ("boxes", BOX_NOISE)):
        apart = np.abs(getattr(ours, name) - getattr(theirs, name)).max(axis=1, initial=0)
        if len(apart) and not (apart <= noise).all():
            row = int((~(apart <= noise)).argmax())
            raise AssertionError(
                f"{what} differ in {name}, by {apart[row]:.3g} in row {row} (anchor {theirs.anchor[row]}); at most "
                f"{noise:g} is rounding"
            )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _keeping(configuration: Configuration) -> str:
    return f"keeping {_some(configuration.ids)}"


def _some(values: Sequence[object] | set[int]) -> str:
    """Up to six values, and that there are more."""
    listed = list(values)
    return f"{', '.join(map(str, listed[:6]))}{' ...' if len(listed) > 6 else ''}"
