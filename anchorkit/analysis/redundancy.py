"""Redundancy: which boxes each anchor really predicts, and whether its neighbours predict the same shapes.

This is the analysis of section 2.1 and Fig. 1 of the anchor-pruning paper: an anchor is a default shape, but what it
predicts is a distribution of shapes around it, and where the neighbours' distributions cover it, the anchor is a
candidate to go. Shapes are compared on log2 axes, as twice as wide means the same for a small box and a large one.

Everything is computed on grids of densities: a histogram over (log2 width, log2 height), smoothed by a Gaussian. Its
standard deviation follows Scott's rule, ``std * n ** (-1/6)`` for n boxes, on each axis, and is at least half a cell
and 1/20 octave, so that an anchor with a single box has a density too. An anchor's *region* of a given mass is the
smallest set of shapes that holds this share of its density. Nothing here is random but the sample that `box_shapes`
takes, and that is seeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from contourpy import contour_generator

from anchorkit.analysis.densities import Array, Axis, bandwidth_of, common_axis, density_of, region_density, smooth
from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.coco_json import read_coco
from anchorkit.errors import InputError

if TYPE_CHECKING:
    from anchorkit.predictions import PredictionTable

__all__ = ["anchor_frame", "box_shapes", "counts", "coverage", "density_contours", "marginals", "object_shapes"]

# Boxes clipped at the image's border can be thinner than a pixel, even of width 0; on a log axis they count as 1 pixel.
_LEAST_SIDE = 1.0
_ALL_OTHERS = "all others"


def anchor_frame(configuration: Configuration | AnchorLayout) -> pd.DataFrame:
    """The anchors as a table for charts.

    Args:
        configuration: the anchors kept; a layout means all of them.

    Returns:
        One row per anchor of the layout, in order: ``anchor_id``, ``level`` (index), ``width`` and ``height`` (input
        pixels), ``kept`` (bool).

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> anchor_frame(layout.configuration(keep=[1]))
          anchor_id  level  width  height   kept
        0  L0/16x16      0   16.0    16.0  False
        1  L0/32x16      0   32.0    16.0   True
    """
    if isinstance(configuration, AnchorLayout):
        configuration = configuration.full
    rows = [(a.id, a.level, a.width, a.height, a.index in configuration) for a in configuration.layout.anchors]
    return pd.DataFrame(rows, columns=["anchor_id", "level", "width", "height", "kept"])


def box_shapes(
    predictions: PredictionTable,
    min_score: float = 0.3,
    max_rows_per_anchor: int = 20000,
    seed: int = 0,
    *,
    ground_truth: Any = None,
    image_sizes: Mapping[int, tuple[int, int]] | None = None,
    category_id: int | None = None,
) -> pd.DataFrame:
    """Width and height, in input pixels, of the boxes that each anchor predicts with confidence.

    Boxes of the table are in pixels of the original image; they are scaled as the network's input is: each side by
    input side / image side, which is exact for detectors that stretch images to their input.

    Args:
        predictions: the prediction table. A box that scores above `min_score` in two classes counts twice.
        min_score: rows that score less are left out; 0..1.
        max_rows_per_anchor: of an anchor with more rows, a random sample of this many is taken.
        seed: the same seed takes the same sample.
        ground_truth: where the image sizes are: a COCO dictionary, a json path or a pycocotools ``COCO``.
        image_sizes: instead of it, (height, width) by image id.
        category_id: only boxes of this class.

    Returns:
        One row per box: ``anchor`` (index), ``anchor_id`` (categorical: its categories are all anchors of the layout,
        also those without a row), ``level``, ``width``, ``height``, ``score``.

    Raises:
        InputError: image sizes are not given or do not cover the predictions, or `min_score` is not 0..1.

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> boxes = [[0, 0, 16, 16], [0, 0, 18, 16], [0, 0, 17, 16]]
        >>> table = ak.PredictionTable([1] * 3, [0, 0, 1], [7] * 3, [0.9, 0.8, 0.7], boxes, layout, ak.PostProcess())
        >>> shapes = box_shapes(table, image_sizes={1: (128, 128)})
        >>> shapes[["anchor_id", "width", "height"]]  # half as large as in the image, like the network's input
          anchor_id  width  height
        0  L0/16x16    8.0     8.0
        1  L0/16x16    9.0     8.0
        2  L0/32x16    8.5     8.0
    """
    if not 0.0 <= min_score <= 1.0:
        raise InputError(f"min_score is {min_score!r}: scores are 0..1")
    if max_rows_per_anchor < 1:
        raise InputError(f"max_rows_per_anchor is {max_rows_per_anchor}: at least one row is needed")
    layout = predictions.layout
    confident = predictions.score >= min_score
    if category_id is not None:
        confident &= predictions.category_id == category_id
    rows = np.flatnonzero(confident)
    rng = np.random.default_rng(seed)
    anchor_of: npt.NDArray[np.int64] = predictions.anchor.astype(np.int64)
    sampled = []
    for anchor in range(len(layout)):
        own = rows[anchor_of[rows] == anchor]
        if len(own) > max_rows_per_anchor:
            own = np.sort(rng.choice(own, max_rows_per_anchor, replace=False))
        sampled.append(own)
    rows = np.concatenate(sampled) if sampled else rows
    scale = _scale_to_input(predictions.image_id[rows], layout, _image_sizes(ground_truth, image_sizes))
    boxes = predictions.boxes[rows].astype(np.float64)
    anchors = anchor_of[rows]
    names = pd.Index(layout.ids, dtype=object)
    level_of = np.array([anchor.level for anchor in layout.anchors], dtype=np.int64)
    return pd.DataFrame(
        {
            "anchor": anchors,
            "anchor_id": pd.Categorical.from_codes(anchors, categories=names, ordered=True),
            "level": level_of[anchors],
            "width": (boxes[:, 2] - boxes[:, 0]) * scale[:, 1],
            "height": (boxes[:, 3] - boxes[:, 1]) * scale[:, 0],
            "score": predictions.score[rows],
        }
    )


def object_shapes(ground_truth: Any, layout: AnchorLayout, category_id: int | None = None) -> pd.DataFrame:
    """Width and height, in input pixels, of the annotated objects; crowds are left out.

    Args:
        ground_truth: a COCO dictionary, a json path or a pycocotools ``COCO``.
        layout: says how large the network's input is.
        category_id: only objects of this class.

    Returns:
        One row per object: ``width`` and ``height``.

    Raises:
        InputError: an image has no size, or an annotation no image or no box.

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> objects = [dict(image_id=1, category_id=7, bbox=[0, 0, 10, 10])]
        >>> truth = dict(images=[dict(id=1, height=32, width=64)], annotations=objects)
        >>> object_shapes(truth, layout)
           width  height
        0   10.0    20.0
    """
    data, source, _ = read_coco(ground_truth)
    sizes = _image_sizes(data, None)
    try:
        found = [
            (int(one["image_id"]), *map(float, one["bbox"][2:4]))
            for one in data["annotations"]
            if not one.get("iscrowd") and category_id in (None, one["category_id"])
        ]
    except (KeyError, TypeError, ValueError) as error:
        name = type(error).__name__
        raise InputError(f"{source}: annotations need image_id, category_id and bbox ({name}: {error})") from None
    rows = np.array(found, dtype=np.float64).reshape(-1, 3)
    scale = _scale_to_input(rows[:, 0].astype(np.int64), layout, sizes)
    return pd.DataFrame({"width": rows[:, 1] * scale[:, 1], "height": rows[:, 2] * scale[:, 0]})


def counts(shapes: pd.DataFrame, layout: AnchorLayout) -> pd.DataFrame:
    """How many boxes of each anchor are in `shapes`, anchors without any included.

    Returns:
        One row per anchor of the layout, in order: ``anchor_id``, ``level``, ``width``, ``height`` (of the anchor, in
        input pixels), ``count`` (at most ``max_rows_per_anchor`` of `box_shapes`).

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> shapes = pd.DataFrame({"anchor": [0, 0, 1], "width": [16, 18, 17], "height": 16})
        >>> counts(shapes, layout)["count"].tolist()
        [2, 1]
    """
    frame = anchor_frame(layout).drop(columns="kept")
    found = np.bincount(shapes["anchor"].to_numpy(dtype=np.int64), minlength=len(layout))
    return frame.assign(count=found)


def density_contours(shapes: pd.DataFrame, mass: float | Iterable[float] = (0.5, 0.8), grid: int = 64) -> pd.DataFrame:
    """Outlines of the smallest regions that hold given shares of each anchor's boxes.

    Args:
        shapes: from `box_shapes`.
        mass: share or shares of the boxes, between 0 and 1.
        grid: cells along each axis; every anchor has its own grid around its own boxes.

    Returns:
        One row per vertex: ``anchor_id``, ``level``, ``mass``, ``path`` (a region may have several outlines, holes
        included; counted from 0 for each anchor and mass), ``order`` (along the path), ``width``, ``height`` (input
        pixels). Each path is closed: its last vertex is its first. Anchors without boxes have no rows.

    Raises:
        InputError: a mass is not between 0 and 1, or the grid is too coarse.

    Example:
        >>> ids = ["L0/16x16", "L0/16x16", "L0/32x16"]
        >>> shapes = pd.DataFrame({"anchor_id": ids, "width": [16, 18, 17], "height": 16})
        >>> outlines = density_contours(shapes, mass=0.5)
        >>> [(anchor, len(rows) > 8) for anchor, rows in outlines.groupby("anchor_id")]
        [('L0/16x16', True), ('L0/32x16', True)]
    """
    masses = [_checked_mass(value) for value in ([mass] if isinstance(mass, int | float) else mass)]
    _check_grid(grid)
    parts: list[tuple[Any, ...]] = []
    for anchor_id, points, level in _by_anchor(shapes):
        if len(points) == 0:
            continue
        bandwidth = bandwidth_of(points)
        axes = [Axis.around(points[:, side], 4.0 * bandwidth[side], grid) for side in (0, 1)]
        density = density_of(points, axes, bandwidth)
        # A ring of empty cells around the grid closes every outline.
        x, y = (axis.padded_centres() for axis in axes)
        generator = contour_generator(x, y, np.pad(density, 1).T, corner_mask=False)
        for share in masses:
            lines: Any = generator.lines(region_density(density, share))
            for path, line in enumerate(lines):
                sides = np.exp2(line[:, 0]), np.exp2(line[:, 1])
                parts.append((anchor_id, level, share, path, np.arange(len(line)), *sides))
    return _joined(parts, ["anchor_id", "level", "mass", "path", "order", "width", "height"])


def marginals(shapes: pd.DataFrame, bins: int = 48) -> pd.DataFrame:
    """The distributions of width and of height of each anchor's boxes.

    Args:
        shapes: from `box_shapes`.
        bins: points along the axis; all anchors share one axis per side, so that their curves can be compared.

    Returns:
        One row per point: ``anchor_id``, ``level``, ``side`` (``"width"`` or ``"height"``), ``value`` (input pixels),
        ``density`` (share of the boxes per octave). Anchors without boxes have no rows.

    Raises:
        InputError: there are too few bins.

    Example:
        >>> ids = ["L0/16x16", "L0/16x16", "L0/32x16"]
        >>> shapes = pd.DataFrame({"anchor_id": ids, "width": [16, 18, 17], "height": 16})
        >>> widths = marginals(shapes, bins=24).query("side == 'width'")
        >>> modes = widths.loc[widths.groupby("anchor_id")["density"].idxmax()]
        >>> modes["value"].round().tolist()
        [16.0, 17.0]
    """
    _check_grid(bins)
    groups = [group for group in _by_anchor(shapes) if len(group[1])]
    parts: list[tuple[Any, ...]] = []
    for side, name in enumerate(("width", "height") if groups else ()):
        axis = common_axis([points for _, points, _ in groups], side, bins)
        for anchor_id, points, level in groups:
            histogram = np.histogram(points[:, side], axis.edges)[0].astype(np.float64)
            density = smooth(histogram, [axis.sigma(bandwidth_of(points)[side])]) / axis.step
            parts.append((anchor_id, level, name, np.exp2(axis.centres), density))
    return _joined(parts, ["anchor_id", "level", "side", "value", "density"])


def coverage(shapes: pd.DataFrame, mass: float = 0.9, grid: int = 48) -> pd.DataFrame:
    """How much of each anchor's boxes fall where other anchors also put theirs.

    All densities lie on one common grid. The share of anchor a covered by b is the sum of a's density over the cells of
    b's region of the given mass. ``"all others"`` is the union of the regions of all other anchors: an anchor with a
    high share there predicts nothing that others do not, and is a candidate to go. (Shapes only: others may not be as
    accurate or as confident. The search finds out.)

    Args:
        shapes: from `box_shapes`.
        mass: how much of the other anchor's boxes its region holds, between 0 and 1.
        grid: cells along each axis.

    Returns:
        One row per pair: ``anchor_id``, ``by_id`` (another anchor, or ``"all others"`` as each anchor's last row),
        ``share`` 0..1. An anchor without boxes covers nothing (0); whether others cover it is unknown (NaN).

    Raises:
        InputError: the mass is not between 0 and 1, or the grid is too coarse.

    Example:
        >>> ids = ["L0/16x16", "L0/16x16", "L0/32x16"]
        >>> shapes = pd.DataFrame({"anchor_id": ids, "width": [16, 18, 17], "height": 16})
        >>> shares = coverage(shapes, mass=0.9)
        >>> shares.query("by_id == 'all others'").round(1)
          anchor_id       by_id  share
        1  L0/16x16  all others    0.5
        3  L0/32x16  all others    0.9
    """
    mass = _checked_mass(mass)
    _check_grid(grid)
    groups = _by_anchor(shapes)
    filled = {anchor_id: points for anchor_id, points, _ in groups if len(points)}
    axes = [common_axis(list(filled.values()), side, grid) for side in ((0, 1) if filled else ())]
    densities = {anchor_id: density_of(points, axes, bandwidth_of(points)) for anchor_id, points in filled.items()}
    regions = {anchor_id: np.zeros((grid, grid), dtype=bool) for anchor_id, _, _ in groups}
    regions |= {anchor_id: density >= region_density(density, mass) for anchor_id, density in densities.items()}
    how_many = np.sum(list(regions.values()), axis=0)
    rows = []
    for anchor_id, region in regions.items():
        own = densities.get(anchor_id)
        rows += [(anchor_id, by_id, _share(own, other)) for by_id, other in regions.items() if by_id != anchor_id]
        rows.append((anchor_id, _ALL_OTHERS, _share(own, how_many - region > 0)))
    return pd.DataFrame(rows, columns=["anchor_id", "by_id", "share"])


def _joined(parts: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    """One table of parts, each the values of its columns: arrays, or what is the same in all of the part's rows."""
    tables = [pd.DataFrame(dict(zip(columns, part, strict=True))) for part in parts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _by_anchor(shapes: pd.DataFrame) -> list[tuple[str, Array, int]]:
    """Each anchor's id, its boxes as (log2 width, log2 height), and its level, in the order of the layout.

    Anchors that have no row are known by the categories of ``anchor_id``; their level is read from the id.
    """
    ids = shapes["anchor_id"]
    known = ids.cat.categories if isinstance(ids.dtype, pd.CategoricalDtype) else pd.unique(ids)
    points = np.log2(np.maximum(shapes[["width", "height"]].to_numpy(dtype=np.float64), _LEAST_SIDE))
    which = pd.Categorical(ids, categories=known).codes
    return [
        (str(anchor_id), points[which == code], int(str(anchor_id)[1:].split("/")[0]))
        for code, anchor_id in enumerate(known)
    ]


def _share(density: Array | None, region: npt.NDArray[np.bool_]) -> float:
    return float("nan") if density is None else min(float(density[region].sum()), 1.0)


def _checked_mass(mass: float) -> float:
    if not 0.0 < mass < 1.0:
        raise InputError(f"mass is {mass!r}: a share of the boxes between 0 and 1 is needed, such as 0.8")
    return float(mass)


def _check_grid(cells: int) -> None:
    if cells < 8:
        raise InputError(f"a grid of {cells} cells is too coarse to show a distribution; use 8 or more")


def _image_sizes(ground_truth: Any, image_sizes: Mapping[int, tuple[int, int]] | None) -> Mapping[int, tuple[int, int]]:
    if image_sizes is not None:
        return image_sizes
    if ground_truth is None:
        raise InputError("box_shapes: give ground_truth or image_sizes, to scale boxes to input pixels")
    data, source, _ = read_coco(ground_truth)
    try:
        return {int(image["id"]): (int(image["height"]), int(image["width"])) for image in data["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source}: images need id, height and width ({type(error).__name__}: {error})") from None


def _scale_to_input(
    image_ids: npt.NDArray[np.int64], layout: AnchorLayout, sizes: Mapping[int, tuple[int, int]]
) -> Array:
    """(vertical, horizontal) scale of each row from image pixels to input pixels."""
    unique, inverse = np.unique(image_ids, return_inverse=True)
    found = np.ones((len(unique), 2))
    for number, image_id in enumerate(unique.tolist()):
        size = sizes.get(image_id)
        if size is None or min(size) <= 0:
            raise InputError(f"the size of image {image_id} is {'unknown' if size is None else size}; see image_sizes")
        found[number] = size
    scale: Array = (np.array(layout.input_size, dtype=np.float64) / found)[inverse]
    return scale
