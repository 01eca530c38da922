"""Pickles that name classes of other people's repositories, read without running or importing anything.

A pickle is a program. Here it is carried out with stand-ins: of all the names in it, those that rebuild tensors and
plain containers get an equivalent of the kit's; every other name becomes an empty class, which holds what is put into
it and does nothing. No name reaches Python's own `find_class`, which would import it.

torch's `weights_only` machinery would refuse such a file at its first unknown name. It can be given stand-ins, but only
for names that are known beforehand, which torch lists for its newer format only.

A tensor stays a note of where it lies in the file until `Tensors` reads it, so optimizer states and second copies of
the weights cost nothing.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anchorkit.errors import InputError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file that torch.save wrote before version 1.6
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_NAMED = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}


class StandIn:
    """An object of a class that is not imported. It takes what a pickle gives it and does nothing."""

    __slots__ = ("fields",)

    def __new__(cls, *args: object, **kwargs: object) -> StandIn:
        made = object.__new__(cls)
        made.fields = {}
        return made

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Take any arguments, as any class may have some."""

    fields: dict[Any, Any]

    def __setstate__(self, state: object) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.fields.update(part)

    def __call__(self, *args: object, **kwargs: object) -> StandIn:
        return StandIn()

    # Some classes are containers: what they contain is not wanted.

    def __setitem__(self, key: object, value: object) -> None:
        """Do nothing."""

    def append(self, value: object) -> None:
        """Do nothing."""

    def extend(self, values: object) -> None:
        """Do nothing."""

    add = append


@dataclass(frozen=True, slots=True)
class Storage:
    """Where numbers lie: `key` names the piece of the file."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A tensor that was not read yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Rebuild:
    """Stands for torch's functions that rebuild tensors; a pickle can call it, and cannot change it."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Noted:
        # After two more arguments the third version of the function has the type of numbers.
        dtype = rest[2] if len(rest) > 2 and isinstance(rest[2], torch.dtype) else storage.dtype
        return Noted(storage, offset, tuple(size), tuple(stride), dtype)


class _First:
    """Stands for functions that wrap a tensor: it gives the first argument back."""

    __slots__ = ()

    def __call__(self, data: Any, *rest: Any) -> Any:
        return data


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)},
    ("torch", "Size"): torch.Size,
    **{("torch._utils", f"_rebuild_tensor{version}"): _Rebuild() for version in ("", "_v2", "_v3")},
    **{("torch._utils", f"_rebuild_parameter{version}"): _First() for version in ("", "_with_state")},
    **{("torch", name): dtype for name, dtype in _NAMED.items()},
}
"""All names that get something else than a stand-in. Nothing here can be changed, or made to run anything."""


class _Reader(pickle.Unpickler):
    """Carries out a pickle with stand-ins.

    Attributes:
        storages: every storage that was named, by its key.
    """

    def __init__(self, program: bytes) -> None:
        super().__init__(io.BytesIO(program))
        self.storages: dict[str, Storage] = {}
        self._kinds: dict[tuple[str, str], type[StandIn]] = {}
        self._names: dict[type, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The kit's equivalent of a known name, or an empty class."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if (module, name) not in self._kinds:
            self._kinds[module, name] = type("StandIn", (StandIn,), {"__slots__": ()})
            self._names[self._kinds[module, name]] = name
        return self._kinds[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """A storage, as a note of where it lies."""
        if pid[0] == "module":  # a class beside its source text, in the oldest files
            return pid[1]
        kind = self._names.get(pid[1], "")
        if pid[0] != "storage" or kind not in DTYPES:
            raise InputError(f"numbers of an unknown type ({kind or repr(pid[0])[:40]})")
        storage = Storage(str(pid[2]), DTYPES[kind], int(pid[4]))
        return self.storages.setdefault(storage.key, storage)


Read = Callable[[Storage], bytes]
"""Gives the bytes of a storage."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Read]]:
    """The objects of a file, and what reads its storages."""
    size = path.stat().st_size
    if not size:
        raise InputError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"PK\3\4":
            with zipfile.ZipFile(file) as archive:
                yield _of_zip(archive, size)
        else:
            yield _of_legacy(content)


def _of_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, Read]:
    members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    if any(name.startswith("code/") for name in members):
        raise InputError("a TorchScript archive, which is a program; save the model's state dict instead")
    if "data.pkl" not in members:
        raise InputError("a zip file without data.pkl, so not one of torch.save's")

    def read(name: str) -> bytes:
        info = members[name]
        # torch.save compresses nothing. A compressed member could be a thousand times as large as the file.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
            raise InputError(
                f"{info.filename} in it is compressed or larger than the file; torch.save writes none such"
            )
        return archive.read(info)

    if "byteorder" in members and read("byteorder") != b"little":
        raise InputError("its numbers are big-endian; load it on a machine of that kind and save it on this one")
    return _Reader(_program(io.BytesIO(read("data.pkl")))).load(), lambda storage: read(f"data/{storage.key}")


def _of_legacy(content: mmap.mmap) -> tuple[Any, Read]:
    """Five pickles (magic number, version, system, objects, keys of the storages), and the storages in that order.

    A storage is its number of elements, in 8 bytes, and the elements.
    """
    magic = _Reader(_program(content)).load()
    if magic != LEGACY_MAGIC:
        raise InputError(f"holds {kind_of(magic)} and no tensors; a checkpoint as torch.save writes it is needed")
    _, _, program, keys = (_program(content) for _ in range(4))
    reader = _Reader(program)
    loaded, places, at = reader.load(), {}, content.tell()
    for key in _Reader(keys).load():
        length = int.from_bytes(content[at : at + 8], "little") * reader.storages[key].dtype.itemsize
        places[key] = slice(at + 8, at + 8 + length)
        at += 8 + length
    if at > len(content):
        raise InputError(f"cut off: {at:,} bytes are needed, it has {len(content):,}")
    return loaded, lambda storage: content[places[storage.key]]


def _program(stream: Any) -> bytes:
    """The bytes of the pickle that begins here, if it is whole and asks for no more memory than its length allows."""
    start, largest = stream.tell(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of backslashes in damaged text
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                largest = max(largest, int(argument or 0))
            elif operation.name.startswith("EXT"):
                raise InputError("its pickle uses the extension registry, which torch.save does not")
    length = stream.tell() - start
    if largest > length:
        raise InputError(f"its pickle numbers an object {largest:,} in {length:,} bytes")
    stream.seek(start)
    program: bytes = stream.read(length)
    return program


class Tensors:
    """Reads tensors from a file's storages, each storage once.

    Args:
        read: gives the bytes of a storage.
        size: of the file in bytes, and so of all storages together at most.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._left = size
        self._storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def __call__(self, noted: Noted) -> Tensor:
        """The tensor, in memory of its own; float32 if it is of floating point."""
        storage = self._storage(noted.storage, noted.dtype)
        numel, last = 1, noted.offset
        for length, step in zip(noted.size, noted.stride, strict=True):
            numel, last = numel * length, last + (length - 1) * step
        if min((noted.offset, *noted.size, *noted.stride)) < 0 or (numel and max(numel, last + 1) > len(storage)):
            raise InputError(f"a tensor of size {noted.size} reaches beyond its {len(storage)} numbers")
        tensor = torch.as_strided(storage, noted.size, noted.stride, noted.offset)
        return tensor.float().clone() if tensor.is_floating_point() else tensor.clone()

    def _storage(self, storage: Storage, dtype: torch.dtype) -> Tensor:
        key = (storage.key, dtype)
        if key not in self._storages:
            content = bytearray(self._read(storage))
            self._left -= len(content)
            if len(content) != storage.numel * storage.dtype.itemsize or self._left < 0:
                raise InputError(
                    f"storage {storage.key} has {len(content):,} bytes, not those of {storage.numel:,} numbers"
                )
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def kind_of(value: object) -> str:
    return "a Python object" if isinstance(value, StandIn) else f"data of type {type(value).__name__}"
