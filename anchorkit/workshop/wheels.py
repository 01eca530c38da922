"""The packages that a platform needs: uv resolves them, and each wheel is downloaded once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from anchorkit.errors import InputError
from anchorkit.files import move_over, replacing

PLATFORMS: Mapping[str, str] = {
    "linux": "x86_64-manylinux_2_28",
    "linux-arm64": "aarch64-manylinux_2_28",
    "macos-arm64": "aarch64-apple-darwin",
    "windows": "x86_64-pc-windows-msvc",
}
"""The platforms that wheels can be packed for, and what uv calls them."""

_MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
"""The oldest macOS that torch has wheels for; uv's own default is older."""

EXTRAS = ("onnx",)
"""Optional parts that the lessons use: 07_deploy writes ONNX files, 08_any_onnx reads one."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel as it is offered.

    Attributes:
        name: of the package.
        version: of the package.
        file: the wheel's file name.
        source: a URL, or a path on this machine.
        size: in bytes; None where the source does not say.
        sha256: digest of the file.
    """

    name: str
    version: str
    file: str
    source: str
    size: int | None
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that accepts this file and no other."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, and return what it printed.

    Raises:
        InputError: uv is not installed.
    """
    command = [sys.executable, "-m", "uv"] if util.find_spec("uv") else [shutil.which("uv") or ""]
    if not command[0]:
        raise InputError("workshop pack: uv is missing; install it: python -m pip install uv")
    environment = _MACOS | os.environ
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)


def resolve(project: Path, platform: str, python: str) -> list[Wheel]:
    """The wheels of all packages that the project needs on a platform, as uv chooses them; the project's is not there.

    ``UV_TORCH_BACKEND=cpu`` and uv's other environment variables count.

    Args:
        project: folder with a ``pyproject.toml``.
        platform: a name of `PLATFORMS`.
        python: version, as ``"3.12"``.

    Raises:
        InputError: the packages do not exist for that platform, or uv cannot reach an index.
    """
    where = f"{platform}, Python {python}"
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "pylock.toml"
        given = ["--python-platform", PLATFORMS[platform], "--python-version", python, "--output-file", str(lock)]
        given += ["--only-binary", ":all:", *(f"--extra={extra}" for extra in EXTRAS)]
        done = uv("pip", "compile", "--quiet", "--format", "pylock.toml", *given, str(project / "pyproject.toml"))
        if done.returncode:
            said = " ".join(done.stderr.split())[:400] or "no reason given"
            raise InputError(f"{where}: uv finds no packages for it; leave it out, or look at what uv says: {said}")
        listed = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
        return [_wheel_of(package, Path(folder), where) for package in listed]


def _wheel_of(package: Mapping[str, Any], folder: Path, where: str) -> Wheel:
    offered = package.get("wheels", ())
    if not offered:
        raise InputError(f"{where}: {package['name']} {package['version']} has no wheel; leave this platform out")
    # All of them fit; one made for the platform is faster than one for any.
    best = min(offered, key=lambda wheel: _source_of(wheel, folder).endswith("-none-any.whl"))
    source = _source_of(best, folder)
    local = "://" not in source
    size = os.path.getsize(source) if local else best.get("size")
    file = Path(source).name if local else unquote(urlsplit(source).path).rpartition("/")[2]
    return Wheel(package["name"], package["version"], file, source, size, best["hashes"]["sha256"])


def _source_of(wheel: Mapping[str, Any], folder: Path) -> str:
    """A URL, or a path on this machine."""
    if "path" in wheel:
        return str((folder / wheel["path"]).resolve())
    url = str(wheel["url"])
    return url2pathname(urlsplit(url).path) if url.startswith("file:") else url


def missing_in(folder: Path, wheels: Iterable[Wheel]) -> list[Wheel]:
    """The wheels that are not in the folder, each once."""
    once = {wheel.file: wheel for wheel in wheels}
    return [wheel for file, wheel in once.items() if not (folder / file).exists()]


def fetch(wheels: Iterable[Wheel], folder: Path, progress: bool = True) -> None:
    """Download wheels into a folder. Each appears whole; an interrupted one goes on where it stopped.

    Raises:
        InputError: a source cannot be reached, or its content is not what the index promised.
    """
    from tqdm import tqdm

    wheels = list(wheels)
    total = sum(wheel.size or 0 for wheel in wheels)
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=total, unit="B", unit_scale=True, desc="wheels", disable=not progress) as bar:
        for wheel in wheels:
            bar.set_postfix_str(wheel.name, refresh=False)
            if "://" in wheel.source:
                _download(wheel, folder / f"{wheel.file}.part", bar)
                move_over(folder / f"{wheel.file}.part", folder / wheel.file)
            else:
                with replacing(folder / wheel.file) as temporary:
                    shutil.copyfile(wheel.source, temporary)
                bar.update(wheel.size or 0)


def _download(wheel: Wheel, part: Path, bar: Any) -> None:
    import requests

    done = part.stat().st_size if part.exists() else 0
    try:
        headers = {"Range": f"bytes={done}-"} if done else {}
        with requests.get(wheel.source, headers=headers, stream=True, timeout=60) as answer:
            if answer.status_code != requests.codes.requested_range_not_satisfiable:  # then it was complete
                answer.raise_for_status()
                resumed = answer.status_code == requests.codes.partial_content
                bar.update(done if resumed else 0)
                with part.open("ab" if resumed else "wb") as file:
                    for chunk in answer.iter_content(_CHUNK):
                        file.write(chunk)
                        bar.update(len(chunk))
    except requests.RequestException as error:
        reason = type(error).__name__
        raise InputError(f"{wheel.file}: cannot be downloaded ({reason}); the same command goes on from here") from None
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        os.remove(part)
        raise InputError(f"{wheel.file}: arrived damaged; the same command downloads it again")
