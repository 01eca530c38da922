"""What the lessons share: the run's folder, its data, and the files of earlier lessons.

A run's folder holds ``data.json`` (which data, written by 01_data), ``detector/`` and ``predictions.parquet``
(02_detector; ``predictions_test.parquet`` beside it where the data has a test split), ``search/`` (04_search),
``retrained/`` (05_prune_and_retrain), ``figures/`` (pictures for the report).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.errors import InputError
from anchorkit.files import read_json, remove, write_json
from anchorkit.findings import Finding
from anchorkit.runs.provenance import facts_hash

if TYPE_CHECKING:
    from anchorkit.datasets import Dataset

FINDINGS_FILE = "findings.json"
"""The file with what the lessons found implausible, by lesson."""

_MAKERS = {
    "data.json": "01_data",
    "detector/detector.json": "02_detector",
    "predictions.parquet": "02_detector",
    "search/search.json": "04_search",
    "retrained/points.csv": "05_prune_and_retrain",
}


HANDOUT = "handout.html"
"""The handout of a run, which `anchorkit run` and `anchorkit handout` write; it belongs to the search."""

SOURCES = ("01_data", "02_detector")
"""The lessons that choose the data and the detector. All trainings and searches depend on them."""

_LEFT = {
    "01_data": ("data.json",),
    "02_detector": ("detector", "predictions.parquet", "predictions_test.parquet"),
    "04_search": ("search", HANDOUT),
    "05_prune_and_retrain": ("retrained",),
    "06_report": ("retrained/max_loss.json",),
    "07_deploy": ("deploy",),
    "08_any_onnx": ("onnx",),
    "09_channels": ("channels/[0-9]*",),
    "21_channels_and_anchors": ("channels/joint",),
}


def left_by_earlier(run_dir: str | Path, name: str) -> Path:
    """The path of a file that an earlier lesson wrote into the run's folder.

    Args:
        run_dir: the run's folder.
        name: path within it, one of those in the module's description.

    Raises:
        InputError: it is not there; the message names the notebook that writes it.
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
    """Load a data set and record its name in the run's folder, so that later lessons use the same one.

    Args:
        run_dir: the run's folder.
        data: a name, a folder or a data.yaml, as for `anchorkit.load_dataset`.
        data_root: the folder of a named data set; empty for none.
        train_images: at most so many training images; 0 for all. Likewise the others.
        val_images: at most so many validation images.
        test_images: at most so many test images.
        progress: show a progress bar on standard error while the built-in shapes are drawn.

    Raises:
        InputError: the data cannot be loaded, images are missing or broken (all of them are counted), or the folder
            belongs to other data already.
    """
    from anchorkit.datasets import data_place

    # Absolute, because lessons and runs may have other working folders.
    place = str(data_place(data) or data)
    images = {"train": train_images, "val": val_images, "test": test_images}
    chosen = {"data": place, "data_root": data_root, "images": images}
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
    note_findings(run_dir, "01_data", loaded.findings)
    return loaded


def note_findings(run_dir: str | Path, lesson: str, findings: Iterable[Finding]) -> None:
    """Record in the run's folder what a lesson found implausible, in place of earlier findings; its page shows it.

    Args:
        run_dir: the run's folder.
        lesson: the notebook, such as ``"01_data"``.
        findings: of the data set, or of an evaluator.
    """
    path = Path(run_dir) / FINDINGS_FILE
    known = read_json(path) if path.exists() else {}
    write_json(path, known | {lesson: [finding.to_dict() for finding in findings]})


def read_findings(run_dir: str | Path) -> list[Finding]:
    """What the lessons of a run found implausible, in their order.

    Raises:
        InputError: the file is damaged.
    """
    path = Path(run_dir) / FINDINGS_FILE
    if not path.exists():
        return []
    try:
        return [Finding.from_dict(one) for _, found in sorted(read_json(path).items()) for one in found]
    except (AttributeError, TypeError):
        raise InputError(f"{path}: not the findings of a lesson; run 01_data again") from None


def load_data(run_dir: str | Path) -> Dataset:
    """The data set that 01_data chose for this run.

    Raises:
        InputError: 01_data has not run, or the annotations have changed since.
    """
    path = left_by_earlier(run_dir, "data.json")
    facts = read_json(path)
    loaded = _load(facts)
    if loaded.fingerprint() != facts["fingerprint"]:
        raise InputError(
            f"{path}: the annotations of {facts['data']} have changed since: execute 01_data again with another "
            "run_dir, or `anchorkit run`, which executes the lessons that depend on them again"
        )
    return loaded


def remove_left(run_dir: str | Path, lessons: Iterable[str], everything: bool) -> list[str]:
    """Remove the files of lessons from the run's folder, because they are executed again with other data or parameters.

    Args:
        run_dir: the run's folder.
        lessons: their names.
        everything: also files that a lesson resumes from, such as checkpoints and ledgers. These record everything that
            they belong to except the data and the detector, so remove them only if one of these changed.

    Returns:
        The run's files that were removed, and the folders from which files were removed.
    """
    folder, removed = Path(run_dir), []
    for lesson in lessons:
        for name in (*_LEFT.get(lesson, ()), f"figures/{lesson[:2]}_*"):
            for place in sorted(folder.glob(name)):
                files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
                gone = [path for path in files if everything or not _goes_on(path.relative_to(folder))]
                for path in gone:
                    remove(path)
                if everything and place.is_dir():
                    remove(place)
                if gone:
                    removed.append(place.relative_to(folder).parts[0])
    return list(dict.fromkeys(removed))


def _goes_on(path: Path) -> bool:
    """Whether a file is a ledger, a checkpoint, or a choice of the user, which record what they belong to."""
    in_training = any(part.startswith("training") for part in path.parts[:-1])
    return in_training or path.suffix == ".jsonl" or path.name == "selected.json"


def training_folder(folder: str | Path, *facts: Any) -> Path:
    """A folder within `folder` for the checkpoints of one training.

    `anchorkit.fit` resumes from the checkpoint in its folder. The start of a training (the weights to fine-tune, the
    configuration) is not in a checkpoint. It is in the folder's name, so a training with another start has another
    folder and another checkpoint.

    Args:
        folder: the parent folder.
        facts: the start and the settings of the training, as values that JSON can write.
    """
    return Path(folder) / f"training-{facts_hash(facts, sort_keys=False)[:10]}"


def _load(facts: Mapping[str, Any], progress: bool = False) -> Dataset:
    from anchorkit.datasets import load_dataset

    limits = {name: count for name, count in facts["images"].items() if count}
    if facts["data"] == "shapes":
        return load_dataset("shapes", progress=progress, **limits)
    loaded = load_dataset(facts["data"], root=facts["data_root"] or None)
    return loaded.limited(**limits) if limits else loaded
