"""A stick is packed from tiny wheels, and installed from without a network; no test here uses an index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from anchorkit.errors import InputError
from anchorkit.workshop import PLATFORMS, pack, packing
from anchorkit.workshop.wheels import Wheel, fetch, missing_in, resolve

from .tiny_wheels import write_wheel

PYTHON = "{}.{}".format(*sys.version_info)
_BACKEND = """
import sys
sys.path.insert(0, {tests!r})
from tiny_wheels import write_wheel

def build_wheel(folder, config_settings=None, metadata_directory=None):
    code = "import sys, tiny; print('ready: tiny', tiny.NUMBER, *sys.argv[1:])"
    return write_wheel("anchorkit", {{"anchorkit/__main__.py": code}}, folder).name
"""


@pytest.fixture
def offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that uv takes instead of an index, and a project that needs one of them."""
    pytest.importorskip("uv", reason="uv is not installed here")
    folder, project = tmp_path / "offers", tmp_path / "project"
    folder.mkdir()
    project.mkdir()
    write_wheel("tiny", {"tiny.py": "NUMBER = 7"}, folder)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "anchorkit"\nversion = "1.0"\ndependencies = ["tiny"]\n'
        "[project.optional-dependencies]\nonnx = []\n"
    )
    (project / "backend.py").write_text(_BACKEND.format(tests=str(Path(__file__).parent)))
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_TORCH_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setattr(packing, "checkout_dir", lambda: project)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a finished run leaves, as far as it matters here."""
    folder = tmp_path / "run"
    (folder / "detector").mkdir(parents=True)
    for name in ("index.html", "handout.html", "detector/checkpoint.pt", "kernel.log"):
        (folder / name).write_text(name)
    return folder


def test_installed_from_the_stick_without_a_network(
    offers: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = "linux-arm64" if os.uname().machine == "aarch64" else "linux"
    if sys.platform != "linux":
        pytest.skip("wheels are packed for Linux here")
    stick = tmp_path / "a stick"  # with a space
    packed = pack(stick, [here, "windows"], [PYTHON], run)
    said = capsys.readouterr().err
    assert f"windows, Python {PYTHON}: 0 MB" in said
    assert packed.downloaded == packed.total == (offers / "tiny-1.0-py3-none-any.whl").stat().st_size
    assert (stick / "lessons" / "00_start_here.ipynb").is_file()
    assert sorted(path.name for path in (stick / "example").iterdir()) == ["detector", "handout.html", "index.html"]
    assert not list((stick / "example" / "detector").iterdir())  # a checkpoint serves a training only
    assert f"  windows, Python {PYTHON}\n" in (stick / "README.txt").read_text()
    assert b"\r\n" in (stick / "install.bat").read_bytes()

    again = pack(stick, [here], [PYTHON], run, progress=False)  # nothing twice
    assert again.downloaded == 0
    assert len(list((stick / "wheels").glob("anchorkit-*.whl"))) == 1

    closed = "http://127.0.0.1:9"
    (tmp_path / "constraints.txt").write_text("tiny<1\n")
    (tmp_path / "pip.conf").write_text(f"[global]\nconstraint = {tmp_path / 'constraints.txt'}\n")
    environment = os.environ | {"PIP_INDEX_URL": closed, "HTTP_PROXY": closed, "HTTPS_PROXY": closed}
    environment |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PYTHONPATH": str(tmp_path)}
    target = tmp_path / "laptop"
    command = ["sh", str(stick / "install.sh"), str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ready: tiny 7 doctor --ready" in done.stdout
    assert (target / "start.sh").is_file()
    assert (target / "lessons" / "00_start_here.ipynb").is_file()

    # A damaged wheel is noticed before it is installed.
    write_wheel("tiny", {"tiny.py": "NUMBER = 8"}, stick / "wheels")
    subprocess.run([target / ".venv/bin/python", "-m", "pip", "uninstall", "--quiet", "--yes", "tiny"], check=True)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH" in done.stderr


def test_only_sizes_writes_nothing(offers: Path, tmp_path: Path) -> None:
    packed = pack(tmp_path / "stick", ["windows"], ["3.12"], tmp_path / "no run", only_sizes=True, progress=False)
    assert packed.downloaded == packed.sizes["windows, Python 3.12"] > 0
    assert not (tmp_path / "stick").exists()


def test_a_package_that_does_not_exist_for_a_platform(offers: Path, tmp_path: Path) -> None:
    offers.joinpath("tiny-1.0-py3-none-any.whl").unlink()
    write_wheel("tiny", {}, offers, "cp312-cp312-win_amd64")
    assert resolve(tmp_path / "project", "windows", "3.12")[0].file == "tiny-1.0-cp312-cp312-win_amd64.whl"
    with pytest.raises(InputError, match=r"^macos-arm64, Python 3.12: uv finds no packages for it; leave it out"):
        resolve(tmp_path / "project", "macos-arm64", "3.12")


def test_a_wheel_made_for_the_platform_comes_first(offers: Path, tmp_path: Path) -> None:
    write_wheel("tiny", {}, offers, "cp312-cp312-win_amd64")
    assert resolve(tmp_path / "project", "windows", "3.12")[0].file == "tiny-1.0-cp312-cp312-win_amd64.whl"
    assert resolve(tmp_path / "project", "linux", "3.12")[0].file == "tiny-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("platforms", "pythons", "message"),
    [
        (["macos-intel"], ["3.12"], r"no torch 2.4 or later for Macs with an Intel processor.*example/handout.html"),
        (["linx"], ["3.12"], "unknown platform 'linx'; did you mean linux?"),
        (["linux"], ["3.10"], r"Python 3.10: anchorkit needs one of 3.11, 3.12, 3.13, 3.14"),
        (["linux"], ["3.12"], "no finished run to show as an example; make one"),
    ],
)
def test_bad_input_is_refused_before_anything_is_downloaded(
    platforms: list[str], pythons: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        pack(tmp_path / "stick", platforms, pythons, tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small(offers: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_FREE_AFTER", 10**15)
    with pytest.raises(InputError, match=r"stick: .* are free, 1000000.0 GB needed"):
        pack(tmp_path / "stick", ["windows"], ["3.12"], run, progress=False)


class _Server(BaseHTTPRequestHandler):
    content = os.urandom(3_000_000)
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start:])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def served() -> Iterator[Wheel]:
    _Server.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/big%2Bcpu-1.0-py3-none-any.whl"
    digest = hashlib.sha256(_Server.content).hexdigest()
    yield Wheel("big", "1.0", "big+cpu-1.0-py3-none-any.whl", url, len(_Server.content), digest)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("there", [0, 1_000_000, 3_000_000])
def test_a_download_goes_on_where_it_stopped(there: int, served: Wheel, tmp_path: Path) -> None:
    (tmp_path / f"{served.file}.part").write_bytes(_Server.content[:there])
    assert missing_in(tmp_path, [served, served]) == [served]
    fetch([served], tmp_path, progress=False)
    assert (tmp_path / served.file).read_bytes() == _Server.content
    assert _Server.asked == [f"bytes={there}-" if there else None]
    assert missing_in(tmp_path, [served]) == []
    assert [path.name for path in tmp_path.iterdir()] == [served.file]


def test_a_damaged_download_is_not_kept(served: Wheel, tmp_path: Path) -> None:
    (tmp_path / f"{served.file}.part").write_bytes(b"other" * 100)
    with pytest.raises(InputError, match="arrived damaged; the same command downloads it again"):
        fetch([served], tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_fails(served: Wheel, tmp_path: Path) -> None:
    nowhere = replace(served, source="http://127.0.0.1:9/nothing.whl")
    with pytest.raises(InputError, match=r"cannot be downloaded \(ConnectionError\); the same command goes on"):
        fetch([nowhere], tmp_path, progress=False)


def test_the_command(command: Callable[..., tuple[int, str, str]], offers: Path, run: Path, tmp_path: Path) -> None:
    options = ["workshop", "pack", tmp_path / "stick", "--platform", "windows", "--python", "3.12", "--run", run]
    code, out, err = command(*options, "--sizes")
    assert (code, out) == (0, "0 MB to download\n")
    code, out, err = command(*options)
    assert code == 0
    assert out.startswith(f"{tmp_path / 'stick'} is packed (0 MB of wheels); try it: sh ")
    assert "to download now: 0 MB" in err
    assert sorted(PLATFORMS) == ["linux", "linux-arm64", "macos-arm64", "windows"]
