"""The configuration that a user picked in a lesson or on the app's page, for later lessons."""

from __future__ import annotations

from pathlib import Path

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json

_FILE = Path("search") / "selected.json"


def save_selection(run_dir: str | Path, configuration: Configuration, fingerprint: str) -> Path:
    """Record a configuration in the run's folder; the file appears whole or not at all.

    Args:
        run_dir: the run's folder.
        configuration: the picked one.
        fingerprint: of the evaluator at that time; the choice holds only for the same predictions.

    Returns:
        The file.
    """
    path = Path(run_dir) / _FILE
    write_json(path, {"anchors": list(configuration.ids), "evaluator": fingerprint})
    return path


def load_selection(run_dir: str | Path, layout: AnchorLayout, fingerprint: str) -> Configuration | None:
    """The configuration that was picked in this run, or None if there is none.

    Args:
        run_dir: the run's folder.
        layout: the detector's anchors.
        fingerprint: of the evaluator; a choice with another one does not count.

    Raises:
        InputError: the file was not written by `save_selection`.
    """
    path = Path(run_dir) / _FILE
    if not path.exists():
        return None
    facts = read_json(path)
    try:
        anchors, picked_with = list(facts["anchors"]), facts["evaluator"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: {type(error).__name__} {error}; pick again in 04_search, or delete it") from None
    return layout.configuration(keep=anchors) if picked_with == fingerprint else None
