"""Wheels of a few bytes; a build without pytest imports this, too."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_wheel(name: str, files: dict[str, str], folder: str | Path, tag: str = "py3-none-any") -> Path:
    """A wheel of version 1.0 with some files."""
    path = Path(folder) / f"{name}-1.0-{tag}.whl"
    about = f"{name}-1.0.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in files) + f"{about}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path
