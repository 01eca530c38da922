"""Where the figures of a run come from: data, weights and predictions by content, versions, commit, seeds, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.files import read_json
from anchorkit.runs.record import RECORD_FILE, RunRecord

_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
# The results of a run that later work builds on; checkpoints, pictures and times are not among them.
_RESULTS = (
    "predictions.parquet",
    "detector/*.safetensors",
    "detector/*.onnx",
    "search/frontier.csv",
    "search/evaluated.parquet",
    "search/random.csv",
    "retrained/points.csv",
    "retrained/*/*.safetensors",
    "retrained/*/*.onnx",
    "figures.json",
)
_PATIENCE = 10  # seconds to wait for another program's answer


def provenance(folder: str | Path, notebooks: str | Path | None = None) -> dict[str, Any]:
    """Where the figures in a run's folder come from.

    Args:
        folder: the run's folder; missing files are left out.
        notebooks: folder of the executed notebooks; the shipped ones by default.

    Returns:
        ``data`` (name, fingerprint of the annotations and, of a folder, its `content_hash`; None if the run has none),
        ``files`` (SHA-256 of weights, predictions and tables by their path in the run), ``packages`` (version of every
        installed package), ``commit`` (``hash`` and whether the checkout was ``changed``; None if the notebooks are
        not in a git checkout), ``seeds`` by notebook, ``machine``.

    Raises:
        InputError: a file of the run cannot be read.
    """
    folder = Path(folder)
    record = RunRecord.read_if_there(folder) or RunRecord()
    return {
        "data": _data(folder),
        "files": result_hashes(folder),
        "packages": packages(),
        "commit": commit(notebooks_dir() if notebooks is None else Path(notebooks)),
        "seeds": record.seeds,
        "machine": machine(),
    }


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder: its files' names with their contents, or for pictures with their sizes.

    Neither times nor the order in which a folder is listed matter. Hidden files do not count, nor do folders of runs
    and sweeps in the folder: results are not part of the data.

    Raises:
        InputError: it is not there or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        if not path.is_dir():
            raise InputError(f"{path}: no such file or folder")
        digest = hashlib.sha256()
        for name in visible_files(path, without_runs=True):
            file_path = path / name
            # The pictures of a data set may take a hundred gigabytes, so only their sizes count.
            picture = file_path.suffix.lower() in _PICTURES
            said = str(file_path.stat().st_size) if picture else content_hash(file_path)
            digest.update(f"{name}\0{said}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def facts_hash(facts: Any, sort_keys: bool = True) -> str:
    """Digest of what JSON can write; without `sort_keys`, mappings in another order have another digest."""
    return hashlib.sha256(json.dumps(facts, sort_keys=sort_keys).encode()).hexdigest()


def data_content(run_dir: str | Path) -> str | None:
    """Digest of the data that a run was made of, as the files are now; None for data without files."""
    path = Path(run_dir) / "data.json"
    facts = read_json(path) if path.exists() else {}
    place = Path(facts.get("data_root") or facts.get("data") or "")
    return place_hash(place) if place.is_absolute() and place.exists() else None


def place_hash(place: Path, hash_of: Callable[[Path], str] = content_hash) -> str:
    """Digest of a folder of data, of a data.yaml with the folders that it speaks of, or of a file.

    An ONNX file counts with the description beside it, if there is one.

    Args:
        place: the folder or file.
        hash_of: gives the digest of each; see `content_hash`.
    """
    from anchorkit.datasets.yolo_description import SUFFIXES, description_of

    beside = place.with_suffix(".json")
    if place.suffix.lower() == ".onnx" and beside.is_file():
        return facts_hash([hash_of(place), hash_of(beside)])
    described = description_of(place) if place.is_file() and place.suffix.lower() in SUFFIXES else None
    if described is None:
        return hash_of(place)
    hashes = [hash_of(part) for part in (place, *described.bases)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def visible_files(folder: Path, without_runs: bool = False) -> list[str]:
    """Paths of all files below a folder, relative to it with ``/``, sorted; without names that begin with a dot.

    Args:
        folder: the folder.
        without_runs: leave out folders of runs and sweeps below it.
    """
    found = []
    for place, folders, names in os.walk(folder):
        if without_runs and Path(place) != folder and not {RECORD_FILE, "sweep.json"}.isdisjoint(names):
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def result_hashes(folder: str | Path) -> dict[str, str]:
    """SHA-256 of the results of a run that later work builds on, by their path in the run."""
    folder = Path(folder)
    found = sorted({path for pattern in _RESULTS for path in folder.glob(pattern)})
    return {path.relative_to(folder).as_posix(): content_hash(path) for path in found}


@cache
def packages() -> dict[str, str]:
    """The version of every installed package by name."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions() if dist.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


@cache
def commit(folder: Path) -> dict[str, Any] | None:
    """The commit of the git checkout that contains a folder; None outside of a checkout, or without git."""
    head = _said("git", "-C", str(folder), "rev-parse", "HEAD")
    if not head:
        return None
    changes = _said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"hash": head, "changed": bool(changes)}


@cache
def machine() -> dict[str, Any]:
    """The machine: system, Python, processor, cores that may be used, memory in bytes, GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "cpu": _cpu(),
        "cores": cores,
        "memory": psutil.virtual_memory().total,
        "gpus": gpus.splitlines() if gpus else [],
    }


def _data(folder: Path) -> dict[str, Any] | None:
    path = folder / "data.json"
    if not path.exists():
        return None
    facts = read_json(path)
    known = {"name": facts.get("data"), "images": facts.get("images"), "fingerprint": facts.get("fingerprint")}
    content = data_content(folder)
    return known | ({"content": content} if content is not None else {})


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _said(*command: str) -> str | None:
    """The output of a program; None if it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
