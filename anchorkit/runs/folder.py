"""What the lessons share: the run's folder, the data it speaks of, and what an earlier lesson left in it.

A run's folder holds ``data.json`` (which data, written by 01_data), ``detector/`` and ``predictions.parquet``
(02_detector), ``search/`` (04_search), ``retrained/`` (05_prune_and_retrain), ``figures/`` (pictures for the report).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json

if TYPE_CHECKING:
    from anchorkit.datasets import Dataset

_MAKERS = {
    "data.json": "01_data",
    "detector/detector.json": "02_detector",
    "predictions.parquet": "02_detector",
    "search/search.json": "04_search",
    "retrained/points.csv": "05_prune_and_retrain",
}


def left_by_earlier(run_dir: str | Path, name: str) -> Path:
    """The path of a file that an earlier lesson left in the run's folder.

    Args:
        run_dir: the run's folder.
        name: path within it, one of those in the module's description.

    Raises:
        InputError: it is not there; the message says which notebook makes it.
    """
    path = Path(run_dir) / name
    if not path.exists():
        raise InputError(f"{path}: not there yet; run the notebook {_MAKERS[name]} first, with the same run_dir")
    return path


def choose_data(
    run_dir: str | Path,
    data: str,
    data_root: str = "",
    train_images: int = 0,
    val_images: int = 0,
    test_images: int = 0,
    progress: bool = True,
) -> Dataset:
    """Load a data set and note in the run's folder which one it is, so that later lessons take the same.

    Args:
        run_dir: the run's folder.
        data: a name, a folder or a data.yaml, as for `anchorkit.load_dataset`.
        data_root: where a named data set lies; empty for none.
        train_images: at most so many training images; 0 for all. Likewise the others.
        val_images: at most so many validation images.
        test_images: at most so many test images.
        progress: show a progress bar on standard error while the built-in shapes are drawn.

    Raises:
        InputError: the data cannot be loaded, images are missing or broken (all of them are counted), or the folder
            speaks of other data already.
    """
    from anchorkit.datasets import data_place

    # A folder or file is noted as an absolute path: lessons and runs may have other working folders.
    place = str(data_place(data) or data)
    chosen = {
        "data": place,
        "data_root": data_root,
        "images": {"train": train_images, "val": val_images, "test": test_images},
    }
    loaded = _load(chosen, progress)
    for split in loaded.splits().values():
        split.check_images()
    facts = chosen | {"fingerprint": loaded.fingerprint()}
    path = Path(run_dir) / "data.json"
    if path.exists() and read_json(path) != facts and (Path(run_dir) / "predictions.parquet").exists():
        raise InputError(
            f"{path}: this run was made on other data ({read_json(path).get('data')}); choose another run_dir"
        )
    write_json(path, facts)
    return loaded


def load_data(run_dir: str | Path) -> Dataset:
    """The data set that 01_data chose for this run.

    Raises:
        InputError: 01_data has not run, or the data is not what it was.
    """
    path = left_by_earlier(run_dir, "data.json")
    facts = read_json(path)
    loaded = _load(facts)
    if loaded.fingerprint() != facts["fingerprint"]:
        raise InputError(f"{path}: the annotations of {facts['data']} have changed since; choose another run_dir")
    return loaded


def training_folder(folder: str | Path, *facts: Any) -> Path:
    """A folder within `folder` for the checkpoints of one training.

    `anchorkit.fit` goes on with the checkpoint that it finds in its folder. What a training begins with (the weights
    that are fine-tuned, the configuration) is not in a checkpoint; with it in the folder's name, a training that begins
    with something else starts afresh, and neither disturbs the other.

    Args:
        folder: where the folder shall lie.
        facts: what the training begins with and how it is done: anything that JSON can write.
    """
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return Path(folder) / f"training-{digest[:10]}"


def _load(facts: Mapping[str, Any], progress: bool = False) -> Dataset:
    from anchorkit.datasets import load_dataset

    limits = {name: count for name, count in facts["images"].items() if count}
    if facts["data"] == "shapes":
        return load_dataset("shapes", progress=progress, **limits)
    loaded = load_dataset(facts["data"], root=facts["data_root"] or None)
    return loaded.limited(**limits) if limits else loaded
