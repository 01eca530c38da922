"""Reports what this machine has, what is missing and how to fix it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.errors import InputError

_GIB = 1 << 30
_ENOUGH_MEMORY, _ENOUGH_DISK = 4 * _GIB, 2 * _GIB
# CPython before this matched some regular expressions wrongly (gh-106052), among them those that nbconvert needs.
_SOUND_PYTHON = (3, 11, 5)


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: the thing checked.
        state: ``"ok"``, ``"note"`` (works, but worth knowing) or ``"missing"`` (something will fail).
        found: what the check found.
        mend: how to fix it; empty if there is nothing to do.
    """

    name: str
    state: str
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The check as a JSON object."""
        return asdict(self)


def examine() -> list[Check]:
    """Run all checks. They change nothing and use no network."""
    return [
        _python(),
        *_packages(),
        _gpu(),
        _cores(),
        _memory(),
        _disk(),
        _kernel(),
        *_shipped(),
        _compiled_code(),
        _writable("working folder", Path.cwd(), "run anchorkit in a folder that you may write to, or give --out"),
        _cache(),
        _writable("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder that you may write to"),
    ]


def try_out(train: int = 2000, val: int = 500, test: int = 500) -> Check:
    """Do once what the lessons do: draw the built-in images, predict, evaluate, compare with pycocotools, search, draw.

    A first time takes 40 seconds. It leaves the images and all compiled code in the caches, so lessons start faster.

    Args:
        train: training images to draw; as many as the lessons do, like the next two.
        val: validation images.
        test: test images.
    """
    mend = "install anchorkit again; if that does not help, report this line"
    try:
        import pandas as pd

        from anchorkit import plots
        from anchorkit.costs import level_costs
        from anchorkit.datasets import load_dataset
        from anchorkit.detectors import load_detector
        from anchorkit.evaluation import Evaluator
        from anchorkit.evaluation.metrics import FScore
        from anchorkit.pages.handout.table import read_table
        from anchorkit.plots.export import to_svg
        from anchorkit.predictions import collect_predictions
        from anchorkit.search import search

        images = load_dataset("shapes", train=train, val=val, test=test, progress=False).val.subset(min(val, 40))
        predictions = collect_predictions(load_detector("tiny_ssd", weights="shapes"), images, progress=False)
        evaluator = Evaluator(predictions, images.ground_truth)
        difference = evaluator.verify(2)
        search(evaluator, progress=False, budget=40)
        # Each of these has loops of its own to compile.
        evaluator.bootstrap([[0]], draws=8)
        for metric in ("voc", FScore(0.3)):
            evaluator.with_metric(metric).accuracy(evaluator.full)
        read_table(evaluator)
        to_svg(plots.level_costs(pd.DataFrame(level_costs(evaluator.full))))
    except Exception as error:  # what an installation lacks shows here
        reason = (str(error).splitlines() or [""])[0]
        return Check("trial", "missing", f"failed ({type(error).__name__}: {reason})", mend)
    if difference:
        return Check("trial", "missing", f"AP differs from pycocotools by {difference}", mend)
    points = 100 * evaluator.accuracy(evaluator.full)
    found = f"the shipped detector has AP {points:.1f} on {len(images)} images, with pycocotools too"
    return Check("trial", "ok", found)


def usable(checks: Sequence[Check]) -> bool:
    """True if nothing necessary is missing."""
    return all(check.state != "missing" for check in checks)


def render(checks: Sequence[Check]) -> str:
    """The checks as text: one line each, and below it how to fix it."""
    width = max(len(check.name) for check in checks)
    marks = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    lines = [f"anchorkit {__version__}"]
    for check in checks:
        lines.append(f"{marks[check.state]}  {check.name:<{width}}  {check.found}")
        if check.mend:
            lines.append(f"{'':{9 + width}}  -> {check.mend}")
    lines.append("Everything necessary is there." if usable(checks) else "Something is missing: see MISSING above.")
    return "\n".join(lines)


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:3] < _SOUND_PYTHON:
        mend = "use Python 3.11.5 or later; with this one a run's page comes without the pages of its notebooks"
        return Check("python", "note", f"{found} matches some regular expressions wrongly (gh-106052)", mend)
    return Check("python", "ok", found)


def _packages() -> list[Check]:
    checks, modules = [], _modules()
    for requirement in _requirements():
        match = re.fullmatch(r"([A-Za-z0-9_.-]+?)\s*(?:>=\s*([0-9.]+))?", requirement)
        if match is None:
            continue
        name, bound = match.groups()
        mend = f"install it: python -m pip install '{requirement}'"
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            checks.append(Check(name, "missing", "not installed", mend))
            continue
        if bound and _numbers(version) < _numbers(bound):
            checks.append(Check(name, "missing", f"{version}, older than {bound}", mend))
        elif not all(util.find_spec(module) for module in modules.get(_normal(name), ())):
            checks.append(Check(name, "missing", f"{version} is listed, but its files are missing", mend))
        else:
            checks.append(Check(name, "ok", version))
    return checks


def _modules() -> dict[str, list[str]]:
    """The public modules of every installed package, as its metadata lists them, by the package's normalized name."""
    modules: dict[str, list[str]] = defaultdict(list)
    for module, packages in metadata.packages_distributions().items():
        if module.isidentifier() and not module.startswith("_"):
            for package in packages:
                modules[_normal(package)].append(module)
    return modules


def _normal(package: str) -> str:
    """The name of a package as the packaging standards normalize it: PyYAML and pyyaml are one."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _requirements() -> list[str]:
    """What anchorkit requires, without extras: from its installation, or from pyproject.toml in a bare checkout."""
    try:
        listed = metadata.requires("anchorkit") or []
        return [line for line in listed if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        path = Path(__file__).resolve().parent.parent / "pyproject.toml"
        if not path.is_file():
            return []
        return list(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])


def _gpu() -> Check:
    try:
        import torch
    except Exception as error:  # a broken installation can raise anything, and this command reports it
        return Check("GPU", "missing", f"torch cannot be imported ({error})", "install torch again")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check("GPU", "ok", names)
    if torch.backends.mps.is_available():
        return Check("GPU", "ok", "Apple (mps)")
    return Check("GPU", "note", "none", "the lessons need none; training on your own data takes longer without")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("cores", "ok", str(cores))


def _memory() -> Check:
    try:
        import psutil
    except ImportError:  # reported among the packages
        return Check("memory", "note", "unknown", "install psutil")
    amount = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")  # a container may have less than its machine
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
        amount = min(amount, int(text))
    if amount < _ENOUGH_MEMORY:
        return Check("memory", "note", _gib(amount), "the lessons need about 4 GiB; use --profile smoke")
    return Check("memory", "ok", _gib(amount))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    if free < _ENOUGH_DISK:
        mend = "a run needs about 2 GiB; free some space or give --out"
        return Check("disk", "note", f"{_gib(free)} free here", mend)
    return Check("disk", "ok", f"{_gib(free)} free here")


def _kernel() -> Check:
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except Exception as error:
        return Check("kernel", "missing", f"Jupyter finds no Python kernel ({error})", "install ipykernel again")
    # A bare "python" in the description of a kernel means the Python that runs Jupyter.
    if not os.path.isabs(command) or os.path.realpath(command) == os.path.realpath(sys.executable):
        return Check("kernel", "ok", "python3, this Python")
    mend = "`anchorkit run` works; for JupyterLab, run python -m ipykernel install --sys-prefix"
    return Check("kernel", "note", f"JupyterLab's kernel python3 uses another Python: {command}", mend)


def _shipped() -> list[Check]:
    checks = []
    mend = "install anchorkit again, or check out the whole repository"
    shipped = (("notebooks", notebooks_dir, "*.ipynb"), ("shipped detectors", data_dir, "**/*.safetensors"))
    for name, where, pattern in shipped:
        try:
            folder = where()
        except InputError as error:
            checks.append(Check(name, "missing", str(error), mend))
            continue
        count = sum(path.stat().st_size > 0 for path in folder.glob(pattern))
        found = Check(name, "ok", f"{count} in {folder}")
        checks.append(found if count else Check(name, "missing", f"none in {folder}", mend))
    return checks


def _writable(name: str, folder: Path, mend: str) -> Check:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(name, "missing", f"{folder}: cannot be written ({error.strerror or error})", mend)
    return Check(name, "ok", f"{folder} can be written")


def _cache() -> Check:
    from anchorkit.datasets.shapes import cache_folder

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    if _writable("cache", existing, "").state == "ok":
        return Check("cache", "ok", f"{folder} can be written")
    mend = "set ANCHORKIT_CACHE to a folder that you may write to; without it, every run draws the shapes again"
    return Check("cache", "note", f"{folder} cannot be written", mend)


def _compiled_code() -> Check:
    """Where numba keeps what it compiles; compiling takes 10 seconds and more, each time if it cannot be kept."""
    try:
        from anchorkit.evaluation.loops.compiling import kept_in
    except Exception as error:
        return Check("compiled code", "missing", f"numba cannot be imported ({error})", "install numba again")
    place, temporary = kept_in()
    mend = "set NUMBA_CACHE_DIR to a folder that you may write to"
    if place is None:
        return Check("compiled code", "note", "cannot be kept: every process compiles for 10 seconds or more", mend)
    if temporary:
        return Check("compiled code", "note", f"kept in {place}, until the temporary folder is emptied", mend)
    return Check("compiled code", "ok", f"kept in {place}")


def _gib(amount: int) -> str:
    return f"{amount / _GIB:.1f} GiB"
