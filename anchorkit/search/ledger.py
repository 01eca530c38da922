"""The ledger: every evaluated configuration on disk, as it is found, so that a killed search loses nothing.

A ledger is a text file with one JSON object per line. The first line says what the accuracies belong to: the layout,
the post-processing, the data and the metric. Every other line is one configuration: ``{"keep": [0, 2], "accuracy":
0.31}``, and, for a callable cost, ``"costs": {"latency": 4.2}``. The ledger only appends lines. A search that finds a
ledger walks the same way as before and looks up each accuracy that is there. So it reaches the same result in the same
order, wherever it was stopped. As accuracies depend neither on the cost nor on the strategy, searches of one evaluator
may share a ledger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.errors import InputError

LEDGER_VERSION = 1

_USUAL_METRIC = "AP"

# json.dumps would make a new one for each line.
_ENCODER = json.JSONEncoder(allow_nan=False)


def ledger_header(evaluator: Any) -> dict[str, Any]:
    """What the accuracies of an evaluator belong to.

    That is its layout and, where it offers them, its ``postprocess``, ``fingerprint`` (of predictions and ground truth)
    and ``metric``. AP, the metric of an evaluator that names none, is not mentioned.
    """
    layout: AnchorLayout = evaluator.layout
    header: dict[str, Any] = {"ledger": LEDGER_VERSION, "layout": layout.to_dict()}
    for name in ("postprocess", "fingerprint", "metric"):
        value: Any = getattr(evaluator, name, None)
        if hasattr(value, "to_dict"):
            value = value.to_dict()
        elif callable(value):
            value = value() if name == "fingerprint" else getattr(value, "__name__", name)
        if value is not None and (name, value) != ("metric", _USUAL_METRIC):
            header[name] = value if isinstance(value, dict) else str(value)
    return header


class Ledger:
    """Accuracies and measured costs of configurations, in memory and, if a path is given, on disk.

    Args:
        evaluator: whose accuracies these are; see `ledger_header`.
        path: the file, or None to keep nothing on disk. An existing ledger is read and gone on with; a last line that
            was cut off when its writer was killed is removed.

    Raises:
        InputError: the file is no ledger, is damaged, belongs to another evaluator, or cannot be read or written.

    Attributes:
        path: the file, or None.
        resumed: whether the file already held the full configuration, with which every search begins.
    """

    def __init__(self, evaluator: Any, path: str | Path | None = None) -> None:
        self.layout: AnchorLayout = evaluator.layout
        self.path = None if path is None else Path(path)
        self._accuracies: dict[int, float] = {}
        self._costs: dict[str, dict[int, float]] = {}
        self._file: BinaryIO | None = None
        if self.path is not None:
            # Through JSON and back, so that what is compared with a file went the same way.
            self._open(self.path, json.loads(json.dumps(ledger_header(evaluator))))
        self.resumed = self.layout.full.mask in self._accuracies

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._accuracies)

    def accuracy(self, configuration: Configuration) -> float | None:
        """The accuracy of a configuration, 0..1, or None if it is not in the ledger."""
        return self._accuracies.get(configuration.mask)

    def cost(self, configuration: Configuration, name: str) -> float | None:
        """A callable cost of a configuration by the callable's name, or None if it is not in the ledger."""
        return self._costs.get(name, {}).get(configuration.mask)

    def record(
        self, found: Iterable[tuple[Configuration, float]], costs: Mapping[str, Mapping[Configuration, float]] = {}
    ) -> None:
        """Add configurations with their accuracies and, by name, callable costs; they are on disk on return.

        Raises:
            InputError: the disk is full, or the file cannot be written.
        """
        lines = []
        for configuration, accuracy in found:
            entry: dict[str, Any] = {"keep": list(configuration.indices), "accuracy": accuracy}
            self._accuracies[configuration.mask] = accuracy
            for name, values in costs.items():
                self._costs.setdefault(name, {})[configuration.mask] = values[configuration]
                entry.setdefault("costs", {})[name] = values[configuration]
            lines.append(_line(entry))
        self._write(b"".join(lines))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            # The file is unbuffered: what write() took is with the operating system, and a kill does not lose it.
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}); what was found before is kept; "
                "make room and start again"
            ) from None

    def _open(self, path: Path, header: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            whole = self._read(path, content, header)
            self._file = path.open("ab", buffering=0)
            if whole < len(content):
                self._file.truncate(whole)
        except OSError as error:
            raise InputError(f"{path}: the ledger cannot be read or written ({error.strerror or error})") from None
        if whole == 0:
            self._write(_line(header))

    def _read(self, path: Path, content: bytes, header: dict[str, Any]) -> int:
        """Take in a ledger's content and return how many of its bytes are whole lines."""
        whole = content.rfind(b"\n") + 1
        if whole == 0:
            # Not even a first line. Only the beginning of our own first line may be overwritten.
            if not _line(header).startswith(content):
                raise InputError(f"{path}: not a ledger of this search, or cut off; delete it or name another file")
            return 0
        first, *lines = content[:whole].splitlines()
        _check_header(path, _parse(first), header)
        for number, line in enumerate(lines, start=2):
            entry = _parse(line)
            try:
                mask = self.layout.configuration(keep=entry["keep"]).mask
                accuracy = entry["accuracy"]
                values = entry.get("costs", {})
                numbers = (accuracy, *values.values())
                if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                    raise ValueError
            except (InputError, KeyError, TypeError, ValueError, AttributeError):
                raise InputError(f"{path}: line {number} is damaged; delete the ledger to start again") from None
            self._accuracies[mask] = accuracy
            for name, value in values.items():
                self._costs.setdefault(name, {})[mask] = value
        return whole


def _line(entry: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(entry).encode() + b"\n"


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def _check_header(path: Path, found: Any, expected: dict[str, Any]) -> None:
    if not isinstance(found, dict) or "ledger" not in found:
        raise InputError(f"{path}: not a ledger of a search; name another file")
    if found["ledger"] != expected["ledger"]:
        raise InputError(
            f"{path}: ledger version {found['ledger']!r}; this anchorkit writes version {expected['ledger']}: "
            "delete it or name another file"
        )
    found, expected = (header | {"metric": header.get("metric", _USUAL_METRIC)} for header in (found, expected))
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if not differing:
        return
    what = {
        "layout": f"the layout ({_describe(found.get('layout'))} there, {_describe(expected['layout'])} here)",
        "postprocess": "the post-processing",
        "fingerprint": "the predictions or the ground truth",
        "metric": f"the metric ({found['metric']} there, {expected['metric']} here)",
    }
    raise InputError(
        f"{path}: the ledger belongs to another search: {' and '.join(what.get(name, name) for name in differing)} "
        "differ; delete it or name another file"
    )


def _describe(layout: Any) -> str:
    try:
        return f"{layout['detector']} with {sum(len(level['anchors']) for level in layout['levels'])} anchors"
    except (KeyError, TypeError):
        return "unreadable"
