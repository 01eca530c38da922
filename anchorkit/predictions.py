"""The prediction table: every raw prediction of a detector on a set of images, before top-k and NMS.

One row is one (box, class) pair above the detector's score threshold, with the anchor that made it. The table lives in
one Parquet file whose schema metadata holds the detector's layout and its post-processing, so that it is all the
evaluation needs beside the ground truth. Other frameworks can write the file too: `COLUMNS` is the whole contract.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout
from anchorkit.coco_json import read_coco
from anchorkit.datasets.ahead import ahead
from anchorkit.errors import InputError
from anchorkit.files import replacing
from anchorkit.findings import Finding, report
from anchorkit.formats import PARQUET, recognise
from anchorkit.lighter import give_memory_back
from anchorkit.postprocess import PostProcess
from anchorkit.predictions_check import check_table, objects_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    from anchorkit.datasets import Split
    from anchorkit.datasets.images import ImageArray
    from anchorkit.detectors import Detector
    from anchorkit.onnx import OnnxDetector

__all__ = ["COLUMNS", "PostProcess", "PredictionTable", "collect_predictions"]

COLUMNS: dict[str, str] = {
    "image_id": "int64",
    "anchor": "int32",
    "category_id": "int32",
    "score": "float32",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
}
"""Columns of the file and their types, in order."""

# What a table holds in memory: the four sides of the boxes are one array.
_FIELDS = ("image_id", "anchor", "category_id", "score", "boxes")
_SIDES = ("x1", "y1", "x2", "y2")

LAYOUT_KEY = b"anchorkit.layout"
POSTPROCESS_KEY = b"anchorkit.postprocess"
EMPTY_IMAGES_KEY = b"anchorkit.empty_images"

ROWS_AT_ONCE = 2**18
"""Rows of a file that are in memory twice while it is read."""

Array = npt.NDArray[Any]


class PredictionTable:
    """The raw predictions of one detector on one set of images; immutable.

    Rows of an image stand in the detector's own order, and that order breaks ties between equal scores. Rows of
    different images may be interleaved.

    Attributes:
        image_id: int64 (N,), as in the ground truth.
        anchor: int32 (N,), index into the layout's anchors.
        category_id: int32 (N,), as in the ground truth.
        score: float32 (N,), 0..1.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels of the original image, x2 >= x1 and y2 >= y1.
        layout: the anchors of the detector.
        postprocess: what the detector does with these rows.
        empty_images: int64 (E,), ids of images that the detector looked at and that have no row, as far as this is
            known: `collect_predictions` records them, other tools need not.
        source: what the table is called in errors: the file it was read from.
        findings: what `collect_predictions` found implausible; empty for tables that come from elsewhere.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> table = ak.PredictionTable(
        ...     image_id=[1, 1], anchor=[0, 1], category_id=[3, 3], score=[0.9, 0.4],
        ...     boxes=[[0, 0, 10, 10], [1, 1, 12, 9]], layout=layout, postprocess=ak.PostProcess(),
        ... )
        >>> table.save("predictions.parquet")
        >>> ak.PredictionTable.load("predictions.parquet")
        PredictionTable(2 rows, 1 images, 2 anchors of toy)
    """

    def __init__(
        self,
        image_id: npt.ArrayLike,
        anchor: npt.ArrayLike,
        category_id: npt.ArrayLike,
        score: npt.ArrayLike,
        boxes: npt.ArrayLike,
        layout: AnchorLayout,
        postprocess: PostProcess,
        *,
        empty_images: npt.ArrayLike = (),
        source: str = "predictions",
        copy: bool = True,
    ) -> None:
        """Take the columns and check them.

        Integer columns may have any integer type as long as every value fits; scores and boxes may have any real
        type and are rounded to float32. With ``copy=False``, arrays of the right type are taken as they are; do not
        change them afterwards.

        Raises:
            InputError: the columns differ in length, or a row breaks a rule; the message names column and row.
        """
        self.source = source
        self.findings: tuple[Finding, ...] = ()
        self.layout = layout
        self.postprocess = postprocess
        self.empty_images = _integers(empty_images, "image_id", source, copy)
        self.image_id = _integers(image_id, "image_id", source, copy)
        self.anchor = _integers(anchor, "anchor", source, copy)
        self.category_id = _integers(category_id, "category_id", source, copy)
        self.score = _floats(score, "score", source, copy)
        self.boxes = _floats(boxes, "boxes", source, copy)
        if self.boxes.size == 0:
            self.boxes = self.boxes.reshape(0, 4)
        n = len(self.image_id)
        for name in _FIELDS[1:]:
            found, needed = getattr(self, name).shape, (n, 4) if name == "boxes" else (n,)
            if found != needed:
                raise InputError(f"{source}: {name} has shape {found}; {needed} is needed")
        self._check_rows()
        for name in _FIELDS:
            getattr(self, name).setflags(write=False)

    def __len__(self) -> int:
        return len(self.image_id)

    def __repr__(self) -> str:
        images = len(np.unique(self.image_id))
        return (
            f"PredictionTable({len(self)} rows, {images} images, {len(self.layout)} anchors of {self.layout.detector})"
        )

    def _check_rows(self) -> None:
        last = len(self.layout) - 1
        self._refuse((self.anchor < 0) | (self.anchor > last), "anchor", self.anchor, f"the layout has 0 to {last}")
        self._refuse(~np.isfinite(self.score), "score", self.score, "a number is needed")
        self._refuse((self.score < 0) | (self.score > 1), "score", self.score, "scores are 0 to 1")
        for column, name in enumerate(_SIDES):
            values = self.boxes[:, column]
            self._refuse(~np.isfinite(values), name, values, "a number is needed")
        for low, high, name in ((0, 2, "x"), (1, 3, "y")):
            a, b = self.boxes[:, low], self.boxes[:, high]
            side = "width" if name == "x" else "height"
            rule = f"it must not be below {name}1 (of a table with x y width height, {name}2 is {name}1 + {side})"
            self._refuse(b < a, f"{name}2", b, rule)

    def _refuse(self, bad: npt.NDArray[np.bool_], column: str, values: Array, rule: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"{self.source}: column {column}, row {row} (counted from 0): {values[row].item()!r}; {rule}"
            )

    def check(self, ground_truth: Any) -> list[str]:
        """Compare the table's image and category ids with a ground truth.

        Args:
            ground_truth: a COCO json path, a COCO dict, a pycocotools COCO, or an evaluator's ``ground_truth``.

        Returns:
            Warnings in plain words: rows of categories that the ground truth lacks. Such rows are legal: they count
            for top-k and for the cap as they do in the detector, and for no AP.

        Raises:
            InputError: a row belongs to an image that the ground truth lacks.
        """
        images, categories, name = _known_ids(ground_truth)
        unknown = ~np.isin(self.image_id, images)
        self._refuse(unknown, "image_id", self.image_id, f"there is no such image in {name}")
        strange = ~np.isin(self.category_id, categories)
        if not strange.any():
            return []
        found = np.unique(self.category_id[strange]).tolist()
        listed = ", ".join(map(str, found[:8])) + (" ..." if len(found) > 8 else "")
        return [
            f"{self.source}: {int(strange.sum())} of {len(self)} rows have a category that {name} lacks "
            f"({listed}): they count for top-k and the cap, and for no AP"
        ]

    def subset(self, image_ids: npt.ArrayLike) -> PredictionTable:
        """The rows of some images, in their order. Images without rows may be named."""
        ids = np.asarray(image_ids, np.int64)
        stays = np.isin(self.image_id, ids)
        other = copy.copy(self)
        other.source = f"{self.source} ({len(ids)} images of it)"
        other.empty_images = np.intersect1d(self.empty_images, ids)
        for name in _FIELDS:
            rows = getattr(self, name)[stays]
            rows.setflags(write=False)
            setattr(other, name, rows)
        return other

    def with_postprocess(self, postprocess: PostProcess) -> PredictionTable:
        """The same rows with another post-processing; nothing is copied."""
        other = copy.copy(self)
        other.postprocess = postprocess
        return other

    def to_pandas(self) -> pd.DataFrame:
        """The table as a DataFrame with the columns of `COLUMNS`, rows in the table's order."""
        import pandas as pd

        return pd.DataFrame(self._columns(), copy=True)

    @classmethod
    def from_pandas(
        cls, frame: pd.DataFrame, layout: AnchorLayout, postprocess: PostProcess, *, source: str = "predictions"
    ) -> PredictionTable:
        """Make a table of a DataFrame with the columns of `COLUMNS`; other columns are ignored.

        Raises:
            InputError: a column is missing, or a row breaks a rule.
        """
        for name in COLUMNS:
            if name not in frame.columns:
                raise InputError(f"{source}: column {name} is missing")
        columns = _joined({name: frame[name].to_numpy() for name in COLUMNS})
        return cls(**columns, layout=layout, postprocess=postprocess, source=source, copy=True)

    def save(self, path: str | Path) -> None:
        """Write the table as one Parquet file, whole or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = {
            LAYOUT_KEY: json.dumps(self.layout.to_dict()).encode(),
            POSTPROCESS_KEY: json.dumps(self.postprocess.to_dict()).encode(),
        }
        if len(self.empty_images):
            metadata[EMPTY_IMAGES_KEY] = json.dumps(self.empty_images.tolist()).encode()
        fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()]
        table = pa.table(self._columns(), schema=pa.schema(fields, metadata=metadata))
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def load(cls, path: str | Path, images: tuple[float, float] | None = None) -> PredictionTable:
        """Read a table that `save` or another framework wrote.

        Columns beside those of `COLUMNS` are ignored. Integer columns may have another integer type if every value
        fits; nothing else is converted.

        Args:
            path: the file.
            images: the first and the last image id of which to read the rows, for tables that are larger than memory;
                None for all. Errors then count rows among those of these images, a null from the file's first row.

        Raises:
            InputError: the file is missing, cut off or not Parquet, a column is missing or of another type, a row
                breaks a rule, or the metadata is missing or of another version. The message names the file, the
                column and the first bad row, counted from 0.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        source = str(path) if images is None else f"{path} (image ids {images[0]} to {images[1]})"
        if not Path(path).is_file():
            raise InputError(f"{source}: no such file")
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                for name in COLUMNS:
                    _check_type(schema, name, source)
                columns = _read_columns(file, source) if images is None else _read_images(file, source, images)
        except (pa.ArrowException, OSError) as error:
            found = recognise(Path(path))
            if found is not None and found is not PARQUET:
                raise InputError(
                    f"{source}: this is {found.name}, and a prediction table (Parquet) is needed here; {found.mend}"
                ) from None
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{source}: not a Parquet file, or cut off ({reason}); write it again") from None
        # What Arrow keeps for the next file can be as much as the table.
        pa.default_memory_pool().release_unused()
        metadata = schema.metadata or {}
        layout = AnchorLayout.from_dict(_metadata(metadata, LAYOUT_KEY, source), source)
        postprocess = PostProcess.from_dict(_metadata(metadata, POSTPROCESS_KEY, source), source)
        empty = np.asarray(_metadata(metadata, EMPTY_IMAGES_KEY, source) if EMPTY_IMAGES_KEY in metadata else ())
        parts: dict[str, Any] = {**columns, "layout": layout, "postprocess": postprocess, "source": source}
        return cls(**parts, empty_images=empty, copy=False)

    def _columns(self) -> dict[str, Array]:
        sides = {name: np.ascontiguousarray(self.boxes[:, i]) for i, name in enumerate(_SIDES)}
        return {name: sides[name] if name in sides else getattr(self, name) for name in COLUMNS}


def collect_predictions(
    detector: Detector | OnnxDetector, split: Split, *, batch_size: int = 16, progress: bool = True
) -> PredictionTable:
    """Run a detector over all images of a split and keep every raw prediction above its score threshold.

    Rows of an image stand box by box as the detector emits them, and for one box class by class in the order of
    ``detector.categories``.

    Args:
        detector: what makes the predictions.
        split: the images; `image_ids` gives their order.
        batch_size: number of images given to the detector at once. All cores decode a batch before the network gets it;
            where the network leaves cores free, they decode the next one meanwhile.
        progress: show a progress bar on standard error.

    Raises:
        InputError: `batch_size` is below 1, images are missing or broken (all of them are counted before the first is
            read), or the detector's boxes or scores break a rule of the table.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> predictions = ak.collect_predictions(detector, data.val, progress=False)
        >>> len(predictions.layout), bool((predictions.score > 0.02).all())
        (30, True)
    """
    from tqdm.auto import tqdm

    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 or more")
    check = getattr(split, "check_images", None)  # an own split may read its images from anywhere
    if check is not None:
        check()
    threshold = np.float32(detector.postprocess.score_threshold)
    category_ids = np.array([category.id for category in detector.categories], np.int32)
    found: dict[str, list[Array]] = {name: [] for name in _FIELDS}
    beside = getattr(detector, "leaves_cores_free", False)
    with tqdm(total=len(split.image_ids), desc="predictions", unit="image", disable=not progress) as bar:
        for ids, images in _batches(split, batch_size, beside):
            for image_id, raw in zip(ids, detector.raw_predictions(images), strict=True):
                scores = np.asarray(raw.scores, np.float32)
                # A NaN score is neither above nor below: keep it, so that the table's check reports it.
                box, column = np.divmod(np.flatnonzero(~(scores <= threshold)), scores.shape[1])
                found["image_id"].append(np.full(len(box), image_id, np.int64))
                found["anchor"].append(np.asarray(raw.anchor)[box])
                found["category_id"].append(category_ids[column])
                found["score"].append(scores[box, column])
                found["boxes"].append(np.asarray(raw.boxes, np.float32).reshape(-1, 4)[box])
            bar.update(len(ids))
    give_memory_back()
    columns: dict[str, Any] = {name: np.concatenate(parts or [np.empty(0)]) for name, parts in found.items()}
    source = f"predictions of {detector.name}"
    how: dict[str, Any] = {"layout": detector.layout, "postprocess": detector.postprocess, "source": source}
    empty = np.setdiff1d(np.array(split.image_ids, np.int64), columns["image_id"])
    table = PredictionTable(**columns, empty_images=empty, **how, copy=False)
    ground_truth = getattr(split, "ground_truth", None)  # an own split may have none
    if ground_truth is not None:
        table.findings = check_table(table, objects_of(ground_truth))
        report(table.findings)
    return table


def _batches(split: Split, size: int, beside: bool) -> Iterator[tuple[Sequence[int], list[ImageArray]]]:
    """The ids and images of a split in batches; `beside` decodes the next images while a batch is used.

    Where the network keeps all cores busy, threads that decode beside it slow it down by more than they gain
    (benchmarks/README.md).
    """
    decode = partial(ahead, split.image, threads=os.cpu_count() or 1, waiting=size)
    images = decode(split.image_ids)  # begins when it is first asked
    for start in range(0, len(split.image_ids), size):
        ids = split.image_ids[start : start + size]
        yield ids, list(islice(images, len(ids)) if beside else decode(ids))


def _integers(values: npt.ArrayLike, name: str, source: str, copy: bool) -> Array:
    array = np.asarray(values)
    target = np.dtype(COLUMNS[name])
    if array.size == 0:
        return np.empty(array.shape, target)
    if array.dtype.kind not in "iu":
        raise InputError(f"{source}: column {name} has type {array.dtype}; {target} is needed")
    limits = np.iinfo(target)
    bad = (array > limits.max) | (array < limits.min)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{source}: column {name}, row {row} (counted from 0): {array[row]} does not fit {target}")
    return np.array(array, target, order="C", copy=copy or None)


def _floats(values: npt.ArrayLike, name: str, source: str, copy: bool) -> npt.NDArray[np.float32]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "fiu":
        raise InputError(f"{source}: column {name} has type {array.dtype}; float32 is needed")
    with np.errstate(over="ignore"):
        return np.array(array, np.float32, order="C", copy=copy or None)


def _check_type(schema: pa.Schema, name: str, source: str) -> None:
    """Refuse a file without a column, or with one of another type."""
    import pyarrow as pa

    position = schema.get_field_index(name)
    if position < 0:
        raise InputError(f"{source}: column {name} is missing (or there are two of it)")
    found, expected = schema.field(position).type, COLUMNS[name]
    # Arrow calls float32 "float".
    if not (pa.types.is_integer(found) if expected.startswith("int") else pa.types.is_float32(found)):
        raise InputError(f"{source}: column {name} has type {found}; {expected} is needed")


def _read_columns(file: pq.ParquetFile, source: str) -> dict[str, Array]:
    """The columns of a Parquet file, the four sides of boxes in one, read piece by piece into their final place."""
    n = file.metadata.num_rows
    columns: dict[str, Array] = {"boxes": np.empty((n, 4), np.float32)}
    for position, name in enumerate(_SIDES):
        columns[name] = columns["boxes"][:, position]
    done = 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(COLUMNS)):
        for name, values in _values(batch, done, source).items():
            if name not in columns:
                columns[name] = np.empty(n, values.dtype)
            columns[name][done : done + len(values)] = values
        done += batch.num_rows
    return {name: columns.get(name, np.empty(0, COLUMNS.get(name))) for name in _FIELDS}


def _read_images(file: pq.ParquetFile, source: str, images: tuple[float, float]) -> dict[str, Array]:
    """As `_read_columns`, of the rows of some images alone. Parts of the file that have none of them are not read."""
    first, last = images
    parts: dict[str, list[Array]] = {name: [np.empty(0, kind)] for name, kind in COLUMNS.items()}
    position = [file.schema.column(i).path for i in range(file.metadata.num_columns)].index("image_id")
    done = 0
    for group in range(file.metadata.num_row_groups):
        about = file.metadata.row_group(group)
        known = about.column(position).statistics
        if known is not None and known.has_min_max and (known.max < first or known.min > last):
            done += about.num_rows
            continue
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=list(COLUMNS)):
            values = _values(batch, done, source)
            wanted = (values["image_id"] >= first) & (values["image_id"] <= last)
            for name in COLUMNS:
                parts[name].append(values[name][wanted])
            done += batch.num_rows
    # The empty beginning of each list has the column's own type and must not widen another one.
    return _joined({name: np.concatenate(parts[name][1:] or parts[name]) for name in COLUMNS})


def _joined(columns: Mapping[str, Array]) -> dict[str, Array]:
    """The fields of a table from the columns of `COLUMNS`."""
    boxes = np.column_stack([columns[name] for name in _SIDES])
    return {name: boxes if name == "boxes" else columns[name] for name in _FIELDS}


def _values(batch: pa.RecordBatch, done: int, source: str) -> dict[str, Array]:
    """The columns of some rows, of which `done` came before."""
    found = {}
    for name in COLUMNS:
        column = batch.column(name)
        if column.null_count:
            row = done + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"{source}: column {name}, row {row} (counted from 0): no value (null)")
        # Not to_numpy(): that imports pandas, which takes longer than reading a small table.
        found[name] = np.from_dlpack(column)
    return found


def _metadata(metadata: Mapping[bytes, bytes], key: bytes, source: str) -> Any:
    name = key.decode()
    if key not in metadata:
        raise InputError(f"{source}: the schema metadata lacks {name!r}: not a prediction table")
    try:
        return json.loads(metadata[key])
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{source}: the schema metadata {name!r} is not JSON") from None


def _known_ids(ground_truth: Any) -> tuple[Array, Array, str]:
    """The ids of the images and of the categories of a ground truth, and its name for messages."""
    if hasattr(ground_truth, "category_ids"):  # an evaluator's
        return ground_truth.image_ids, ground_truth.category_ids, "the ground truth"
    data, name, _ = read_coco(ground_truth)
    return _ids(data, "images", name), _ids(data, "categories", name), name


def _ids(data: Mapping[str, Any], key: str, name: str) -> npt.NDArray[np.int64]:
    try:
        return np.array([entry["id"] for entry in data[key]], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: {key!r} is missing, or one of its entries has no whole-number 'id'") from None
