"""Data sets: the built-in shapes, COCO and Pascal VOC by name, and folders of COCO json or VOC xml files.

Whatever the source, a data set gives the same: splits with images (uint8 RGB), annotations and COCO ground truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anchorkit.datasets.base import Annotations, Category, Dataset, Split
from anchorkit.datasets.coco import OFFICIAL_SOURCE as _COCO_SOURCE
from anchorkit.datasets.coco import load_coco, load_coco_folder
from anchorkit.datasets.plausibility import check_dataset, leave_out_roots
from anchorkit.datasets.shapes import load_shapes, never_needed
from anchorkit.datasets.voc import load_voc, load_voc_folder
from anchorkit.errors import InputError
from anchorkit.findings import report

__all__ = ["NAMES", "Annotations", "Category", "Dataset", "Split", "load_dataset", "never_needed"]

NAMES = ("shapes", "coco", "voc", "voc2007", "voc2012")


def load_dataset(name: str | Path, root: str | Path | None = None, **options: Any) -> Dataset:
    """Load a data set by name, or from a folder.

    Args:
        name: ``"shapes"`` (drawn by the kit, needs nothing); ``"coco"``, ``"voc"``, ``"voc2007"`` or ``"voc2012"``
            (with `root`, where the official downloads were unpacked); or a folder of COCO json or VOC xml files,
            recognised by what is in it.
        root: folder that holds the named data set.
        **options: for ``"shapes"``: ``train``, ``val``, ``test`` (numbers of images), ``size`` (pixels), ``seed``,
            ``cache`` and ``progress``; see :func:`anchorkit.datasets.shapes.load_shapes`. Others take none.

    Raises:
        InputError: the name is neither known nor a folder, an option is unknown, the data is broken, or it is what no
            real data can be (such as normalised boxes). What is only implausible comes as an
            `anchorkit.findings.ImplausibleDataWarning` and in the data set's ``findings``; see docs/checks.md.
    """
    if isinstance(name, str) and name in NAMES:
        if name == "shapes":
            return _shapes(root, options)
        if root is None:
            source = _COCO_SOURCE if name == "coco" else "its downloads at host.robots.ox.ac.uk/pascal/VOC"
            raise InputError(
                f"{name} needs the folder it was unpacked into: load_dataset({name!r}, root=...); get {source}"
            )
        _refuse(name, options)
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the one that {name} was unpacked into")
        return _checked(load_coco(folder) if name == "coco" else load_voc(name, folder), official=True)
    folder = Path(name).expanduser() if root is None else Path(root).expanduser() / name
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is neither a folder nor a known data set"
        raise InputError(f"{folder} {what}; give a folder of COCO json or VOC xml files, or one of {', '.join(NAMES)}")
    _refuse(folder.name, options)
    data = load_coco_folder(folder) or load_voc_folder(folder)
    if data is None:
        raise InputError(
            f"{folder}: no annotations found; looked for annotations/instances_train.json, "
            f"train/_annotations.coco.json, a single COCO json, Annotations/*.xml or train/*.xml"
        )
    return _checked(data)


def _checked(data: Dataset, official: bool = False) -> Dataset:
    """Warn of what is implausible in a data set, or refuse it."""
    root = leave_out_roots(data)
    data.findings = (*([root] if root else []), *check_dataset(data, official))
    report(data.findings, stacklevel=3)
    return data


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
