"""How the evaluator's loops are compiled, and the few operations on bits that they share."""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, event, types
from numba.extending import intrinsic, register_jitable

Function = TypeVar("Function", bound=Callable[..., Any])

PATIENCE = 2.0
"""Seconds. Machine code that was compiled before is loaded in less."""


_settings: Any = numba.config


class Notice(event.Listener):
    """Prints once why the user waits, when compiling one of the kit's loops takes longer than a moment."""

    def __init__(self) -> None:
        self._said = False
        self._timers: list[threading.Timer | None] = []

    def on_start(self, event: Any) -> None:
        function = getattr(event.data.get("dispatcher"), "py_func", None)
        own = (getattr(function, "__module__", None) or "").startswith("anchorkit.")
        timer = threading.Timer(PATIENCE, self._say) if own and not self._said else None
        if timer:
            timer.daemon = True
            timer.start()
        self._timers.append(timer)

    def on_end(self, event: Any) -> None:
        timer = self._timers.pop()
        if timer:
            timer.cancel()

    def _say(self) -> None:
        if not self._said:
            self._said = True
            place, temporary = kept_in()
            often = "once for each installation"
            if place is None:
                often = "in every process, as no folder for the result can be written (set NUMBA_CACHE_DIR to one)"
            elif temporary:
                often = f"and kept in {place} (set NUMBA_CACHE_DIR to a folder that stays)"
            print(f"anchorkit: compiling, {often}: about 10 seconds", file=sys.stderr)


event.register("numba:compile", Notice())


ONE = np.uint64(1)

# A function that C could call is made for each loop otherwise, and nothing here is called by C.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
UNCOUNTED: dict[str, Any] = OPTIONS | {"_nrt": False}


def compiled(function: Function) -> Function:
    """Compile on first use and keep the machine code beside the module or in the user's cache; 0/0 is nan, as in C."""
    return cast(Function, _cached(numba.njit(**OPTIONS)(function)))


def compiled_without_counting(function: Function) -> Function:
    """As `compiled`, for loops that take views of arrays in their inner parts and allocate nothing.

    numba counts the references to every array that a view is taken of or that a function is given, with atomic
    instructions. Where dozens of arrays come together for a few nanoseconds of work, that is most of the time.
    """
    return cast(Function, _cached(numba.njit(**UNCOUNTED)(function)))


def inlined(function: Function) -> Function:
    """Compile as a part of the loops that call it. Calls with dozens of arrays would cost more than the work.

    Called from Python it is a plain function. numba would make it callable from Python and C too, and that takes a
    third of the time of compiling.
    """
    part: Function = register_jitable(**UNCOUNTED, forceinline=True, no_cpython_wrapper=True)(function)
    return part


def _cached(dispatcher: Any) -> Any:
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # neither beside the module nor in the user's cache: a read-only container, say
        if not _use_temporary_cache():
            return dispatcher
        dispatcher.enable_caching()
    try:
        dispatcher._cache._cache_file._load_index()
    except (AttributeError, ImportError):
        # The machine code is of an older version, whose tables had other names: numba would fail at each call.
        dispatcher._cache.flush()
    return dispatcher


def kept_in() -> tuple[str | None, bool]:
    """The folder that keeps the loops' machine code (None if there is none), and whether it is a temporary one."""
    place = getattr(getattr(compiled(_nothing), "_cache", None), "cache_path", None)
    return place, place is not None and str(_temporary_cache()) == _settings.CACHE_DIR


def _nothing() -> None:
    """A function to ask numba about."""


def _temporary_cache() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"anchorkit-compiled-{user}"


def _use_temporary_cache() -> bool:
    """Have numba keep machine code in a folder of the temporary folder that no other user can write to."""
    folder = _temporary_cache()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat(follow_symlinks=False)
        # Machine code is executed as it is found there, so a folder of another user is not used.
        private = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
        if not (stat.S_ISDIR(found.st_mode) and private):
            return False
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return False
    _settings.CACHE_DIR = str(folder)
    return True


@inlined
def popcount(word):
    """Number of set bits of a uint64; LLVM knows the pattern and emits one instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def lowest_bit(word):
    """The lowest set bit of a uint64, alone; 0 for 0."""
    return word & (~word + ONE)


@inlined
def position(bit):
    """Which bit (0 to 63) the one set bit of a uint64 is."""
    return popcount(bit - ONE)


@inlined
def unsigned(index):
    """An index known not to be negative: with any other, numba tests at each access whether to count from the end."""
    return np.uint64(index)


@inlined
def bit_at(number):
    """A uint64 with the bit ``number % 64`` set."""
    return ONE << np.uint64(number & 63)


@intrinsic
def prefetch(typing_context, array, index):
    """Ask the processor to have ``array[index]`` (an unsigned index) in its cache soon, without waiting for it."""

    def build(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, value=arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # To be read; into the second cache, as the first is full of what is being worked on; data.
        builder.call(hint, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.uint64), build
