"""The detectors in a run's folder, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anchorkit.anchors import Configuration, parse_anchor_list
from anchorkit.detectors import Detector, load_detector, prune
from anchorkit.errors import InputError
from anchorkit.runs.folder import left_by_earlier
from anchorkit.runs.points import Points
from anchorkit.search import SearchResult

FACTS_FILE = "detector.json"


@dataclass(frozen=True)
class Choice:
    """A detector of a run.

    Attributes:
        name: its name there, valid as a folder's name: ``A-fine-tuned``, ``full``, ``row-3``.
        detector: the detector.
        full: the run's full detector, to compare with; the same detector if there is no other.
        trained: False if anchors were removed and the detector was not trained since.
    """

    name: str
    detector: Detector
    full: Detector
    trained: bool = True


def choose(folder: str | Path, name: str | None = None) -> Choice:
    """A detector of a run, or a saved one.

    Args:
        folder: a run's folder, or one that `save_detector` wrote (then `name` gives the anchors to keep).
        name: ``shipped`` (the default of a run): the detector to ship; ``full``: the one that was searched
            (the default of a saved detector); a folder of ``retrained/``, as ``A-fine-tuned``; the number of a row of
            the frontier, counted from 1; or anchors to keep, separated by commas. The last two are pruned and not
            trained.

    Raises:
        InputError: there is no such folder or name; the message lists the names.
    """
    folder = Path(folder)
    is_run = (folder / "detector" / FACTS_FILE).is_file()
    if not is_run and not (folder / FACTS_FILE).is_file():
        raise InputError(
            f"{folder}: neither a run's folder (detector/{FACTS_FILE}) nor a saved detector ({FACTS_FILE})"
        )
    full = load_detector(folder / "detector" if is_run else folder)
    name = name or ("shipped" if is_run else "full")
    if is_run and name == "shipped":
        shipment = Points.read(folder).shipment
        name = f"{shipment.point}-{shipment.stage}" if shipment.pruned else "full"
    if name == "full":
        return Choice(name, full, full)
    if "," in name or "/" in name:
        kept = full.layout.configuration(keep=parse_anchor_list(name))
        return _pruned(f"anchors-{kept.mask:x}", full, kept)
    retrained = folder / "retrained" / name
    if is_run and (retrained / FACTS_FILE).is_file():
        return Choice(name, load_detector(retrained), full, trained=not name.endswith("-pruned"))
    if is_run and name.isdecimal():
        result = SearchResult.load(left_by_earlier(folder, "search/search.json").parent)
        if 1 <= int(name) <= len(result.configurations):
            row = result.configurations[int(name) - 1]
            return _pruned(f"row-{int(name)}", full, row)
    raise InputError(f"{folder}: no configuration {name!r}; there are {', '.join(_known(folder, is_run))}")


def _pruned(name: str, full: Detector, configuration: Configuration) -> Choice:
    return Choice(name, prune(full, configuration), full, trained=False)


def _known(folder: Path, is_run: bool) -> list[str]:
    """The names that `choose` takes, for a message."""
    names = ["full"]
    if is_run:
        points = sorted(path.parent.name for path in (folder / "retrained").glob(f"*/{FACTS_FILE}"))
        names += ["shipped", *points] if points else []
        if (folder / "search" / "search.json").is_file():
            names.append(f"1 to {len(SearchResult.load(folder / 'search').configurations)} (rows of the frontier)")
    return [*names, "anchors to keep, separated by commas"]
