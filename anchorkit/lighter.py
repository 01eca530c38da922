"""Less memory and fewer seconds for each process: imports without what the kit does not use, and memory given back.

An import here does nothing where the package is imported already; what is left out can still be imported later.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

__all__ = ["give_memory_back", "import_jsonschema", "import_torch_extras", "without_triton"]


def import_jsonschema() -> None:
    """jsonschema, which Jupyter and Altair are built on, as if rfc3987_syntax were not installed.

    That package is a grammar of internationalised web addresses, and serves only a check that is not used here.
    Building it takes a second, up to four where much else has been imported before, and 110 MB.
    """
    with _standing_in({"rfc3987_syntax": None}):
        importlib.import_module("jsonschema")


def import_torch_extras() -> None:
    """Torch's compiler, which torchvision imports, and its FLOP counter, both `without_triton`."""
    with without_triton():
        importlib.import_module("torch._dynamo")
        importlib.import_module("torch.utils.flop_counter")


@contextmanager
def without_triton() -> Iterator[None]:
    """Inside it, torch does not load Triton, which compiles for GPUs; does nothing where there is a GPU.

    Triton takes 90 MB and a quarter of a second.
    """
    stand_ins: dict[str, ModuleType | None] = {}
    if not importlib.import_module("torch").cuda.is_available():
        kernels = ModuleType("triton.runtime.jit")
        kernels.JITFunction = type("JITFunction", (), {})  # type: ignore[attr-defined]  # the FLOP counter asks for it
        stand_ins = {"triton": None, kernels.__name__: kernels}
    with _standing_in(stand_ins):
        yield


def give_memory_back() -> None:
    """Give the system what this process has freed; glibc keeps it, for a network's maps about 50 MB.

    Does nothing on systems without glibc.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


@contextmanager
def _standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Inside it, imports of modules that are not imported yet find these; None says that there is no such module."""
    put = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(put)  # type: ignore[arg-type]  # Python reports that there is no module where it finds None
    try:
        yield
    finally:
        for name in put:
            sys.modules.pop(name, None)
