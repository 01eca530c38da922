"""Examples in docstrings are tests: they run as printed, in an empty folder."""

from __future__ import annotations

import doctest
import importlib
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import anchorkit as ak
from anchorkit.detectors import architectures

NEEDS = {
    "anchorkit.cluster.evaluator": ["distributed"],
    "anchorkit.cluster.scheduler": ["distributed"],
    "anchorkit.detectors.export": ["onnx", "onnxruntime", "onnxscript"],
    "anchorkit.onnx.loading": ["onnx", "onnxruntime", "onnxscript"],
    "anchorkit.onnx.preprocess": ["onnx", "onnxruntime"],
}
"""Packages of extras that the examples of a module use."""
PACKAGE = Path(ak.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """Found by their text, so that nothing is imported to collect the tests."""
    paths = [path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where examples keep the shapes that they draw."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_print_what_they_say(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    monkeypatch.setenv("ANCHORKIT_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    known = dict(architectures.BUILDERS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the machine was busy")  # the examples of latency measure nothing of use
        found = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    for added in architectures.BUILDERS.keys() - known.keys():
        del architectures.BUILDERS[added]
    assert found.attempted > 0
    assert found.failed == 0, capsys.readouterr().out


def public_objects() -> Iterator[tuple[str, object]]:
    """Functions and classes of the short list, and those in the `__all__` of the public modules."""
    for name in ak.__all__:
        yield name, getattr(ak, name)
    for name in dir(ak):
        module = getattr(ak, name)
        if isinstance(module, ModuleType):
            for inner in getattr(module, "__all__", ()):
                yield f"{name}.{inner}", getattr(module, inner)


def test_at_least_forty_public_names_have_an_example() -> None:
    things = {id(thing): thing for _, thing in public_objects() if inspect.isclass(thing) or inspect.isfunction(thing)}
    assert sum(">>> " in (thing.__doc__ or "") for thing in things.values()) >= 40
