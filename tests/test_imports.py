"""The direction of imports, and that looking at the package loads nothing heavy."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from anchorkit.lighter import give_memory_back

HEAVY = ("torch", "torchvision", "altair", "numpy", "pandas", "IPython", "papermill", "numba", "matplotlib")


def modules_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has after running `code`."""
    script = f"import sys\n{code}\nprint(chr(10).join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def test_no_module_knows_one_that_knows_it() -> None:
    """Imports have no circle, those for type checkers and inside functions included.

    Left out is `anchorkit` itself, which knows all and resolves names on first use.
    """
    graph = grimp.build_graph("anchorkit", exclude_type_checking_imports=False, cache_dir=None)
    knows = {
        module: {known for known in graph.find_modules_directly_imported_by(module) if known != "anchorkit"}
        for module in graph.modules
        if module != "anchorkit"
    }
    TopologicalSorter(knows).prepare()  # raises CycleError, which names the circle


def test_import_contracts_hold(repository: Path) -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import anchorkit",
        "import anchorkit.cli",
        "import anchorkit.cli\ntry: anchorkit.cli.main(['--help'])\nexcept SystemExit: pass",
        "import anchorkit.cli\ntry: anchorkit.cli.main(['search', '--help'])\nexcept SystemExit: pass",
        "import anchorkit.cli\nanchorkit.cli.main(['search', 'none.parquet', 'none.json', '--threshold', '7'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str) -> None:
    assert modules_after(code).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "name", ["evaluation", "search", "costs", "predictions", "datasets", "analysis.redundancy", "anchors"]
)
def test_numbers_load_neither_torch_nor_charts_nor_jupyter(name: str) -> None:
    loaded = modules_after(f"import anchorkit.{name}")
    assert loaded.isdisjoint({"torch", "torchvision", "altair", "IPython", "papermill", "nbformat", "matplotlib"})


def test_search_is_a_function_and_a_package_whichever_is_asked_for_first() -> None:
    code = "import anchorkit as ak; ak.search; assert callable(ak.search); from anchorkit.search import comparing; "
    code += "assert ak.search.comparing is comparing; assert 'search' in vars(ak) and 'plots' not in vars(ak)"
    modules_after(code)


@pytest.mark.parametrize("name", ["plots", "widgets"])
def test_charts_do_not_build_the_grammar_of_web_addresses(name: str) -> None:
    assert "rfc3987_syntax.syntax_helpers" in modules_after("import jsonschema")  # or the test says nothing
    assert "rfc3987_syntax.syntax_helpers" not in modules_after(f"import anchorkit.{name}")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_without_a_gpu_detectors_do_not_load_triton_and_torch_still_compiles() -> None:
    without = "import torch; torch.cuda.is_available = lambda: False; "
    assert "triton.runtime.jit" in modules_after(without + "import torchvision")  # or the test says nothing
    code = without + "import anchorkit.detectors; "
    assert "triton.runtime.jit" not in modules_after(code)
    code += "assert torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)) == 2; import triton"
    assert "triton.runtime.jit" in modules_after(code)


def test_freed_memory_goes_back_to_the_system() -> None:
    code = """
import numpy, psutil
from anchorkit.lighter import give_memory_back
held = [numpy.ones(2_000) for _ in range(6_000)]  # 16 kB each: small enough for the heap
pins = held[::60]  # what is in use between them keeps the heap from shrinking by itself
full = psutil.Process().memory_info().rss
del held
give_memory_back()
assert full - psutil.Process().memory_info().rss > 5e7
"""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        modules_after(code)
    else:
        give_memory_back()  # does nothing
