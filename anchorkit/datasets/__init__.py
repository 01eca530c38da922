"""Data sets: the built-in shapes, COCO and Pascal VOC by name, and folders of COCO json, VOC xml or YOLO txt files.

A data set of any source gives the same: splits with images (uint8 RGB), annotations and COCO ground truth.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from anchorkit.datasets.base import Annotations, Category, Dataset, Split
from anchorkit.datasets.coco import OFFICIAL_SOURCE as _COCO_SOURCE
from anchorkit.datasets.coco import load_coco, load_coco_folder
from anchorkit.datasets.cvat import load_cvat_folder
from anchorkit.datasets.images import subfolders
from anchorkit.datasets.plausibility import check_dataset, leave_out_roots
from anchorkit.datasets.shapes import load_shapes, never_needed
from anchorkit.datasets.voc import load_voc, load_voc_folder
from anchorkit.datasets.yolo import load_yolo_file, load_yolo_folder
from anchorkit.datasets.yolo_description import SUFFIXES as _YOLO_SUFFIXES
from anchorkit.errors import InputError
from anchorkit.findings import report
from anchorkit.formats import ZIP, recognise, recognise_folder

__all__ = ["NAMES", "Annotations", "Category", "Dataset", "Split", "data_place", "load_dataset", "never_needed"]

NAMES = ("shapes", "coco", "voc", "voc2007", "voc2012")
"""The data sets with a name; any other name is a folder or a file."""


_READERS = (load_coco_folder, load_voc_folder, load_cvat_folder, load_yolo_folder)
_READ = "COCO json, VOC xml, CVAT xml or YOLO txt files"


def load_dataset(name: str | Path, root: str | Path | None = None, **options: Any) -> Dataset:
    """Load a data set by name, or from a folder.

    What was decided while reading (a split that was drawn, a path that was taken for another) is in the ``notes`` of
    the data set, and each note is a warning.

    Args:
        name: ``"shapes"`` (drawn by the kit, needs nothing); ``"coco"``, ``"voc"``, ``"voc2007"`` or ``"voc2012"``
            (with `root`, where the official downloads were unpacked); a folder of COCO json, VOC xml, CVAT xml or YOLO
            txt files, recognised by what is in it; or a YOLO data set's data.yaml or obj.data. If the folder holds
            none but a folder below it does, that one is read.
        root: folder that holds the named data set.
        **options: for ``"shapes"``: ``train``, ``val``, ``test`` (numbers of images), ``size`` (pixels), ``seed``,
            ``cache`` and ``progress``; see :func:`anchorkit.datasets.shapes.load_shapes`. Others take none.

    Raises:
        InputError: the name is neither known nor a folder, an option is unknown, the data is broken or of a format that
            is not read (the message names the format and says how to convert it), or it is what no real data can be
            (such as normalised boxes). What is only implausible comes as an
            `anchorkit.findings.ImplausibleDataWarning` and in the data set's ``findings``; see docs/checks.md.

    Example:
        >>> import anchorkit as ak
        >>> ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        Dataset(shapes: train 4, val 4, test 4 images; 7 classes)
    """
    if isinstance(name, str) and name in NAMES:
        if name == "shapes":
            return _shapes(root, options)
        data = _named(name, root, options)
    else:
        place = Path(name).expanduser() if root is None else Path(root).expanduser() / name
        data = _from_place(place, options)
    for note in data.notes:
        warnings.warn(note, stacklevel=2)
    left_out = leave_out_roots(data)
    data.findings = (*([left_out] if left_out else []), *check_dataset(data, official=name in NAMES))
    report(data.findings, stacklevel=2)
    return data


def _named(name: str, root: str | Path | None, options: dict[str, Any]) -> Dataset:
    if root is None:
        source = _COCO_SOURCE if name == "coco" else "its downloads at host.robots.ox.ac.uk/pascal/VOC"
        raise InputError(
            f"{name} needs the folder it was unpacked into: load_dataset({name!r}, root=...); get {source}"
        )
    _refuse(name, options)
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that {name} was unpacked into")
    return load_coco(folder) if name == "coco" else load_voc(name, folder)


def _from_place(place: Path, options: dict[str, Any]) -> Dataset:
    if place.is_file() and place.suffix.lower() in _YOLO_SUFFIXES:
        _refuse(place.name, options)
        return load_yolo_file(place)
    if not place.is_dir():
        found = recognise(place) if place.is_file() else None
        what = "is neither a folder nor a known data set"
        if place.exists():
            what = f"is a file, not a folder ({found.name})" if found else "is a file, not a folder"
            what += "; unpack it first" if found is ZIP else ""
        raise InputError(f"{place} {what}; give a folder of {_READ}, a data.yaml, or one of {', '.join(NAMES)}")
    _refuse(place.name, options)
    data = _read(place) or _read_below(place)
    if data is not None:
        return data
    other = recognise_folder(place)
    if other is not None:
        kind, path = other
        raise InputError(f"{path}: this is {kind.name}, and {_READ} are read; {kind.mend}")
    raise InputError(
        f"{place}: no annotations found; looked for annotations/instances_train.json, "
        f"train/_annotations.coco.json, a single COCO json, Annotations/*.xml, train/*.xml, annotations.xml (CVAT), "
        f"data.yaml, obj.data, and labels/*.txt or *.txt beside images"
    )


def _read(folder: Path) -> Dataset | None:
    """The data set in a folder, by the first reader that finds what it knows."""
    return next((data for reader in _READERS if (data := reader(folder)) is not None), None)


def _read_below(folder: Path, levels: int = 3) -> Dataset | None:
    """The one data set in the folders below: those that a zip unpacks into, or that hold one more folder.

    Raises:
        InputError: there are several, on the first level that has any.
    """
    level = [folder]
    for _ in range(levels):
        level = [place for parent in level for place in subfolders(parent)][:100]
        found = [(place, data) for place in level if (data := _read(place)) is not None]
        if len(found) > 1:
            names = ", ".join(str(place.relative_to(folder)) for place, _ in found[:5])
            raise InputError(f"{folder}: {len(found)} data sets below ({names}); give one of these folders")
        if found:
            place, data = found[0]
            note = f"{folder}: holds no annotations itself; {place.relative_to(folder)} below it is read"
            return Dataset(data.name, data.train, data.val, data.test, (note, *data.notes))
    return None


def data_place(name: str | Path) -> Path | None:
    """The absolute path of what `load_dataset` would read at this place: a folder, data.yaml or obj.data; else None."""
    place = Path(name).expanduser()
    described = place.suffix.lower() in _YOLO_SUFFIXES and place.is_file()
    return place.resolve() if described or place.is_dir() else None


def _shapes(root: str | Path | None, options: dict[str, Any]) -> Dataset:
    known = ("train", "val", "test", "size", "seed", "cache", "progress")
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InputError(f"shapes has no option {unknown[0]!r}; it has {', '.join(known)}")
    if root is not None:
        raise InputError("shapes is drawn, not read: it takes no root (cache= says where the drawn set is kept)")
    return load_shapes(**options)


def _refuse(name: str, options: dict[str, Any]) -> None:
    if options:
        raise InputError(f"{name}: unknown option {next(iter(options))!r}; only shapes takes options")
