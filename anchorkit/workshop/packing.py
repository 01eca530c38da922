"""Packs a USB stick from which laptops install anchorkit and its lessons without a network."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from anchorkit.bundled import checkout_dir, copy_notebooks
from anchorkit.errors import InputError
from anchorkit.files import appearing, remove, replacing, write_text
from anchorkit.suggest import did_you_mean
from anchorkit.workshop.wheels import PLATFORMS, Wheel, fetch, missing_in, resolve, uv

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that anchorkit runs on."""

_INTEL = (
    "macos-intel: there is no torch 2.4 or later for Macs with an Intel processor, so anchorkit cannot be installed on "
    "them; leave it out, and use example/handout.html there, which needs a browser and nothing else"
)
_FREE_AFTER = 200_000_000  # bytes for lessons, example and scripts, with some to spare
_LEFT_OUT = shutil.ignore_patterns(".*", "*.log", "*.pt", "*.failed.ipynb")  # checkpoints serve a training only


@dataclass(frozen=True, slots=True)
class Packed:
    """What `pack` put into a folder, or would put there.

    Attributes:
        folder: the folder.
        sizes: bytes of the wheels, by platform and Python (``"linux, Python 3.12"``).
        total: bytes of all wheels, each counted once.
        downloaded: bytes that had to be downloaded this time.
    """

    folder: Path
    sizes: dict[str, int]
    total: int
    downloaded: int


def pack(
    folder: str | Path,
    platforms: Sequence[str],
    pythons: Sequence[str],
    run: str | Path,
    *,
    only_sizes: bool = False,
    progress: bool = True,
) -> Packed:
    """Gather in a folder what laptops need for a workshop: wheels, lessons, an example run and scripts that install.

    The same call goes on after an interruption and downloads nothing twice. Another call with other platforms adds
    them. Needs a network, uv and a checkout of the repository, of which it makes a wheel.

    Args:
        folder: the stick, or a folder that is copied to it.
        platforms: names of `PLATFORMS`.
        pythons: versions of Python, as ``"3.12"``; a laptop needs one of them.
        run: folder of a finished run, which becomes the example.
        only_sizes: only find out how much would be downloaded.
        progress: print sizes and progress on standard error.

    Raises:
        InputError: a platform or version is unknown, the run is not finished, a package does not exist, the disk is too
            small, or the network fails.
    """
    folder, run = Path(folder), Path(run)
    for platform in platforms:
        if platform == "macos-intel":
            raise InputError(_INTEL)
        if platform not in PLATFORMS:
            raise InputError(f"unknown platform {platform!r}; {did_you_mean(platform, PLATFORMS)}")
    for python in pythons:
        if python not in PYTHONS:
            raise InputError(f"Python {python}: anchorkit needs one of {', '.join(PYTHONS)}")
    if not only_sizes and not (run / "index.html").is_file():
        raise InputError(f"{run}: no finished run to show as an example; make one (anchorkit run) or name one (--run)")
    project = checkout_dir()
    needed = {(a, b): resolve(project, a, b) for a in dict.fromkeys(platforms) for b in dict.fromkeys(pythons)}
    wheels = {wheel.file: wheel for found in needed.values() for wheel in found}
    missing = missing_in(folder / "wheels", wheels.values())
    sizes = {f"{a}, Python {b}": _bytes(found) for (a, b), found in needed.items()}
    packed = Packed(folder, sizes, _bytes(list(wheels.values())), _bytes(missing))
    if progress:
        print(_sizes_in_words(packed, missing), file=sys.stderr)
    if only_sizes:
        return packed
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < packed.downloaded + _FREE_AFTER:
        raise InputError(f"{folder}: {gigabytes(free)} are free, {gigabytes(packed.downloaded + _FREE_AFTER)} needed")
    fetch(missing, folder / "wheels", progress)
    own = _own_wheel(project, folder / "wheels")
    for (platform, python), found in needed.items():
        lines = [wheel.requirement for wheel in [*found, own]]
        write_text(folder / "wheels" / f"{platform}-{python}.txt", "\n".join(lines) + "\n")
    _add_the_rest(folder, run, sizes)
    return packed


def gigabytes(size: int) -> str:
    """A size for people: ``"3.3 GB"``, ``"374 MB"``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _bytes(wheels: Sequence[Wheel]) -> int:
    return sum(wheel.size or 0 for wheel in wheels)


def _sizes_in_words(packed: Packed, missing: Sequence[Wheel]) -> str:
    lines = [f"{where}: {gigabytes(size)}" for where, size in packed.sizes.items()]
    lines.append(f"all wheels: {gigabytes(packed.total)}, of these to download now: {gigabytes(packed.downloaded)}")
    if unknown := [wheel.name for wheel in missing if wheel.size is None]:
        lines.append(f"not counted, because the index does not say how large they are: {', '.join(unknown)}")
    if any(wheel.name.startswith("nvidia-") for wheel in missing):
        lines.append("Most of it is torch for NVIDIA GPUs; with UV_TORCH_BACKEND=cpu uv takes the small build instead.")
    return "\n".join(lines)


def _own_wheel(project: Path, folder: Path) -> Wheel:
    """Build the project's own wheel into the folder, in place of an earlier one."""
    with tempfile.TemporaryDirectory() as scratch:
        done = uv("build", "--quiet", "--wheel", "--out-dir", scratch, str(project))
        if done.returncode:
            raise InputError(f"{project}: uv cannot build the wheel: {' '.join(done.stderr.split())}")
        [built] = Path(scratch).glob("*.whl")
        name, version = re.split("-", built.name)[:2]
        for old in folder.glob(f"{name}-*.whl"):
            remove(old)
        with replacing(folder / built.name) as temporary:
            shutil.copyfile(built, temporary)
        digest = hashlib.sha256(built.read_bytes()).hexdigest()
        return Wheel(name, version, built.name, str(built), built.stat().st_size, digest)


def _add_the_rest(folder: Path, run: Path, sizes: dict[str, int]) -> None:
    """Lessons, the example run, the scripts and README.txt."""
    if (folder / "lessons").exists():  # of an earlier version, perhaps; the stick is no place to work
        remove(folder / "lessons")
    copy_notebooks(folder / "lessons")
    with appearing(folder / "example") as temporary:
        shutil.copytree(run, temporary, ignore=_LEFT_OUT, dirs_exist_ok=True)
    stick = resources.files("anchorkit.workshop") / "stick"
    for script in ("install.py", "install.sh", "install.bat", "start.sh", "start.bat"):
        text = (stick / script).read_text(encoding="utf-8")
        with replacing(folder / script) as path:
            path.write_bytes(text.replace("\n", "\r\n" if script.endswith(".bat") else "\n").encode())
    known = [path.stem.rpartition("-") for path in sorted((folder / "wheels").glob("*-3.*.txt"))]
    fits = "\n".join(f"  {platform}, Python {python}" for platform, _, python in known)
    readme = Template((stick / "README.txt").read_text(encoding="utf-8")).substitute(fits=fits)
    write_text(folder / "README.txt", readme)
