"""Installs anchorkit from this folder into a folder of its own, without a network: python install.py [FOLDER]

Needs Python's standard library alone. It runs on Python 3.8 too, to be able to say which version is needed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

STICK = Path(__file__).resolve().parent
WHEELS = STICK / "wheels"
WINDOWS = os.name == "nt"


def this_platform() -> str:
    """This computer as the names of the files in wheels/ have it, such as linux or macos-arm64."""
    system, arm = platform.system(), platform.machine().lower() in ("arm64", "aarch64")
    if system == "Darwin":
        return "macos-arm64" if arm else "macos-intel"
    return system.lower() + ("-arm64" if arm else "")


def find_python(versions: list[str]) -> tuple[str, str] | None:
    """A Python of one of the versions, and its version: this one, or another on this computer."""
    own = "{}.{}".format(*sys.version_info)
    if own in versions:
        return sys.executable, own
    for version in versions:
        command = ["py", f"-{version}"] if WINDOWS else [f"python{version}"]
        if shutil.which(command[0]):
            ask = [*command, "-c", "import sys; print(sys.executable)"]
            answer = subprocess.run(ask, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                return answer.stdout.strip(), version
    return None


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command, and end with its exit code if it fails; it has said why."""
    code = subprocess.run([str(part) for part in command], cwd=cwd, check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path.home() / "anchorkit-workshop").resolve()
    name = this_platform()
    versions = sorted(file.stem.rpartition("-")[2] for file in WHEELS.glob(f"{name}-3.*.txt"))
    if not versions:
        sys.exit(
            f"This stick has nothing to install for this computer ({name}).\n"
            "Open example/handout.html in a browser: it needs nothing else."
        )
    found = find_python(versions)
    if found is None:
        sys.exit(
            f"This computer has Python {platform.python_version()}; the stick has packages for {', '.join(versions)}.\n"
            "Install one of these versions of Python, then start this again."
        )
    python, version = found
    os.environ.pop("PYTHONPATH", None)  # what is installed here shall not be mixed with what lies elsewhere
    print(f"Installing into {target}; this takes some minutes ...", flush=True)
    inside = target / ".venv" / ("Scripts/python.exe" if WINDOWS else "bin/python")
    if not (target / ".venv" / "ready").exists():  # an interrupted one begins again
        target.mkdir(parents=True, exist_ok=True)
        if subprocess.run([python, "-m", "venv", "--clear", str(target / ".venv")], check=False).returncode:
            sys.exit("Python cannot make an environment. On Debian and Ubuntu: sudo apt install python3-venv")
        (target / ".venv" / "ready").touch()
    # No setting of this computer's pip may send it to a network or forbid a version: neither its files nor variables.
    os.environ["PIP_CONFIG_FILE"] = os.devnull
    pip: list[str | Path] = [
        inside,
        "-m",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-index",
    ]
    run(*pip, "--no-deps", "--find-links", WHEELS, "--requirement", WHEELS / f"{name}-{version}.txt")
    for folder in ("lessons", "example"):
        if not (target / folder).exists():  # never over a student's own work
            shutil.copytree(STICK / folder, target / folder)
    start = target / ("start.bat" if WINDOWS else "start.sh")
    shutil.copy(STICK / start.name, start)
    print("Installed. Trying it out, which takes a minute the first time ...", flush=True)
    run(inside, "-m", "anchorkit", "doctor", "--ready", cwd=target)
    print("To open the lessons:", start if WINDOWS else f"sh {start}")


if __name__ == "__main__":
    main()
