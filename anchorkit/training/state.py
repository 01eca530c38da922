"""What a training has beside its loop: its history, its checkpoint, and what can be added to its loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from anchorkit.errors import InputError
from anchorkit.files import replacing, write_json

CHECKPOINT_FILE, HISTORY_FILE, FACTS_FILE = "checkpoint.pt", "history.csv", "training.json"


@dataclass(frozen=True)
class History:
    """What happened in a training.

    Attributes:
        rows: one dict per lap, which is an epoch or, where steps are counted, a twelfth of them: ``epoch`` (passes over
            the images so far), ``step``, ``loss`` (mean of the lap), ``lr`` (at its end), ``seconds``, ``val_AP``
            (0..1; NaN where it was not validated). With sparsity also ``penalty`` (at its end) and ``small_scales``
            (0..1, the share of the scales below 0.01, of the weights that would be kept); with a teacher also
            ``distilling`` (the weighted distance, mean of the lap). ``loss`` has neither.

    Example:
        >>> from anchorkit.training import History
        >>> row = {"epoch": 1, "step": 8, "loss": 2.5, "lr": 0.001, "seconds": 3.0, "val_AP": 0.25}
        >>> History((row,)).frame
           epoch  step  loss     lr  seconds  val_AP
        0      1     8   2.5  0.001      3.0    0.25
    """

    rows: tuple[dict[str, float], ...]

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame."""
        columns = ["epoch", "step", "loss", "lr", "seconds", "val_AP"]
        return pd.DataFrame(list(self.rows), columns=list(self.rows[0]) if self.rows else columns)

    @property
    def seconds(self) -> float:
        """Time spent in all laps."""
        return sum(row["seconds"] for row in self.rows)


class Checkpoint:
    """The state of a training after its last finished lap, in a folder or nowhere.

    Tensors and plain numbers only: it is read with ``weights_only=True``, which runs no pickle.

    Args:
        folder: where it is kept; None for nowhere.
        facts: what must be the same for a training to be continued.
        parts: what has a state, by name; None has none.
    """

    def __init__(self, folder: str | Path | None, facts: dict[str, Any], **parts: Any) -> None:
        self.folder = None if folder is None else Path(folder)
        self.facts = facts
        self.parts = parts

    def restore(self) -> list[dict[str, float]]:
        """Load the last state, if there is one, and give the history so far."""
        if self.folder is None or not (self.folder / CHECKPOINT_FILE).exists():
            return []
        path = self.folder / CHECKPOINT_FILE
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            facts, rows = state["facts"], state["rows"]
        except Exception as error:  # torch raises many kinds for a broken file
            kind = type(error).__name__
            raise InputError(f"{path}: not a whole checkpoint ({kind}); delete it to start again") from None
        if "samples" in self.facts and facts.get("samples") != self.facts["samples"]:
            raise InputError(
                f"{path}: begun by a version of anchorkit that made other training samples of the same images; "
                "delete it to start again, or use another folder"
            )
        different = [name for name in self.facts if facts.get(name) != self.facts[name]]
        if different:
            raise InputError(
                f"{path}: a training with another {' and '.join(different)}; "
                "use another folder, or delete it to start again"
            )
        self.load(state)
        return list(rows)

    def load(self, state: dict[str, Any]) -> None:
        """Put a state of `state` into the parts."""
        for name, part in self.parts.items():
            if part is not None:
                part.load_state_dict(state[name])

    def forget(self) -> None:
        """Delete the last state that was saved."""
        if self.folder is not None:
            (self.folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """A copy of the state of every part."""
        return {name: None if part is None else copy.deepcopy(part.state_dict()) for name, part in self.parts.items()}

    def save(self, rows: Sequence[dict[str, float]]) -> None:
        """Write the state and the history, each whole or not at all."""
        if self.folder is None:
            return
        state: dict[str, Any] = {"facts": self.facts, "rows": list(rows)}
        state |= {name: None if part is None else part.state_dict() for name, part in self.parts.items()}
        with replacing(self.folder / CHECKPOINT_FILE) as temporary:
            torch.save(state, temporary)
        with replacing(self.folder / HISTORY_FILE) as temporary:
            History(tuple(rows)).frame.to_csv(temporary, index=False)
        write_json(self.folder / FACTS_FILE, self.facts)


class Addition(Protocol):
    """What a training does beside learning its task. It has no state but that of a lap."""

    def open(self) -> None:
        """Called before the first step, when the detector is on its device."""

    def loss(self, images: Sequence[Tensor], share: float) -> Tensor | None:
        """A term of the loss, after the forward pass on `images`; `share` of the training, 0..1, is done."""

    def after_step(self, share: float, lr: float) -> None:
        """Called after the step of the optimizer with its learning rate."""

    def columns(self, kept: nn.Module) -> dict[str, float]:
        """What the history notes at the end of a lap, after which the weights of `kept` could be kept."""

    def close(self) -> None:
        """Called when the training is over or stopped."""
