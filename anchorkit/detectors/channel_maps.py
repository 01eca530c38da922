"""The maps that a network's layers read, while it runs on real images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from anchorkit.detectors.base import Detector, evaluation_mode
from anchorkit.detectors.channel_groups import CoupledChannels
from anchorkit.detectors.channel_labels import arguments_of
from anchorkit.detectors.channel_rules import MULTIPLICATIONS, operands
from anchorkit.errors import InputError


def watch_maps(
    channels: CoupledChannels, detector: Detector, images: torch.Tensor, visit: Callable[[str, torch.Tensor, int], None]
) -> None:
    """Run a detector's network and show every map that a layer reads.

    Forward hooks would miss layers whose weights are used by a function, such as those of a shared head.

    Args:
        channels: what `coupled_channels` found in this detector.
        detector: it runs in evaluation mode.
        images: float (N, 3, H, W), 0..1, of the layout's input size.
        visit: called with the layer's path, its input (N, C, ...), and the map's number; the same number is the same
            map, which other layers read too.

    Raises:
        InputError: the network runs otherwise than on the meta device.

    Example:
        >>> import anchorkit as ak
        >>> import torch
        >>> from anchorkit.detectors import watch_maps
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> seen = {}
        >>> watch_maps(
        ...     ak.coupled_channels(detector), detector, torch.rand(2, 3, 160, 160),
        ...     lambda layer, map, number: seen.setdefault(layer, tuple(map.shape)),
        ... )
        >>> seen["backbone.stages.0.3"]
        (2, 16, 80, 80)
    """
    replay = _Replay(channels, visit)
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(detector.module), replay:
        detector.channel_network()(images)
    replay.finish()


class _Replay(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the multiplications that the pass on the meta device saw, in the same order, with real maps."""

    def __init__(self, channels: CoupledChannels, visit: Callable[[str, torch.Tensor, int], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.channels, self.visit = channels, visit
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Show what a multiplication reads, then run it."""
        name = func.overloadpacket.__name__.strip("_")
        if name in MULTIPLICATIONS:
            self._show(operands(name, arguments_of(func, args, kwargs or {})))
        return func(*args, **(kwargs or {}))

    def _show(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.number += 1
        if self.number > len(self.channels.calls):
            raise self._other()
        call = self.channels.calls[self.number - 1]
        read = pair[call.operand]
        if pair[0].ndim == pair[1].ndim and call.product:  # a matrix product: what is summed over comes last
            read = (read if call.operand == 0 else read.mT).flatten(0, -2)
        if read.shape[1] != call.read:
            raise self._other()
        if call.weight:
            self.visit(call.weight.rpartition(".")[0], read, call.map)

    def finish(self) -> None:
        """See that all multiplications came.

        Raises:
            InputError: some did not.
        """
        if self.number != len(self.channels.calls):
            raise self._other()

    def _other(self) -> InputError:
        return InputError(
            f"{self.channels.detector}: the network multiplies {self.number} times, or with other numbers of channels "
            f"than on the meta device ({len(self.channels.calls)} times); what it computes must not depend on values, "
            "and the channels must have been found in this detector"
        )
