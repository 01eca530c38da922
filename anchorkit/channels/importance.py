"""How much each channel matters. A score looks at one group of coupled channels; the lowest go first.

`IMPORTANCES` are the scores by name; a function of your own takes the same arguments:

- ``"nuclear"``: DCODP's (Neural Processing Letters 57:21, equation 10): by how much the nuclear norm of the map falls;
- ``"surgeon"``: what the readers lose although folding makes up for the channel, one after the other (optimal brain
  surgeon, Hassibi and Stork 1993, with channels for weights);
- ``"bn_scale"``: the norms' scale (network slimming; Chu et al., arXiv 2306.01526);
- ``"l1"``: the sum of the filter's absolute weights;
- ``"random"``: what every other score has to beat.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.channels.folding import oriented_weight, reader_matrix, regularised
from anchorkit.channels.statistics import ChannelStatistics, read_channels
from anchorkit.detectors.channel_groups import ChannelGroup, LayerChannels, Reader
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

Array = npt.NDArray[np.float64]
Importance = Callable[[ChannelGroup, ChannelStatistics], npt.ArrayLike]
"""``importance(group, statistics)`` returns (atoms,) finite scores of the group's atoms: what goes together."""


def nuclear(group: ChannelGroup, statistics: ChannelStatistics) -> Array:
    """DCODP's score, mean over images and over the distinct maps that the group's readers get."""
    found = {
        number: statistics.drops[number][read_channels(group, reader)].sum(1)
        for reader in group.readers
        for number in reader.maps
    }
    scores: Array = np.mean(list(found.values()), axis=0)
    return scores


def bn_scale(group: ChannelGroup, statistics: ChannelStatistics) -> Array:
    """Mean over the group's norms of the absolute scale.

    Raises:
        InputError: the group has no norm.
    """
    if not group.norms:
        raise InputError(
            f"importance 'bn_scale': the group {group.name} has no norm with a scale; use 'nuclear', 'surgeon' or 'l1'"
        )
    scales = [_scale(statistics, norm)[norm.channels].sum(1) for norm in group.norms]
    scores: Array = np.mean(scales, axis=0)
    return scores


def l1(group: ChannelGroup, statistics: ChannelStatistics) -> Array:
    """Mean over the group's layers of the sum of the filter's absolute weights."""
    found = []
    for layer in group.layers:
        weight = np.abs(oriented_weight(statistics.detector, layer.layer).double().cpu().numpy())
        found.append(weight.reshape(len(weight), -1).sum(1)[layer.channels].sum(1))
    scores: Array = np.mean(found, axis=0)
    return scores


def random(group: ChannelGroup, statistics: ChannelStatistics, seed: int = 0) -> Array:
    """Uniform in 0..1, for each group another draw."""
    return np.random.default_rng([seed, zlib.crc32(group.name.encode())]).random(group.atoms)


def surgeon(group: ChannelGroup, statistics: ChannelStatistics) -> Array:
    """What the readers have lost when an atom goes, each time the one that adds least; rises in the order of going.

    For a reader with weights W (outputs, channels) and Gram matrix G of its map, removing channel i and folding it
    costs `|W_i|^2 / (G^-1)_ii`: squared error of the reader's output, here as a share of its size. Then W and G^-1
    are those of the remaining channels. The order does not depend on how many are to go.
    """
    readers = [_Operated(group, reader, statistics) for reader in group.readers if not reader.depthwise]
    left, lost = list(range(group.atoms)), 0.0
    scores = np.zeros(group.atoms)
    while left:
        losses = sum((reader.losses(left) for reader in readers), np.zeros(len(left)))
        place = int(losses.argmin())
        atom = left.pop(place)
        lost += max(float(losses[place]), 0.0)
        scores[atom] = lost + 1e-12 * (group.atoms - len(left))  # rises, so that a sort finds the order
        for reader in readers:
            reader.remove(atom)
    return scores


class _Operated:
    """One reader from which the surgeon takes channels."""

    def __init__(self, group: ChannelGroup, reader: Reader, statistics: ChannelStatistics) -> None:
        weights, gram = reader_matrix(group, reader, statistics), regularised(statistics.gram(reader))
        self.products: Array = weights.T @ weights  # (C, C)
        self.products /= np.sum(self.products * gram) or 1.0
        self.inverse: Array = np.asarray(np.linalg.inv(gram), np.float64)
        self.channels = read_channels(group, reader).copy()  # (atoms, k), where they are in the matrices now
        self.there = np.ones(len(gram), bool)

    def losses(self, atoms: list[int]) -> Array:
        """What each of these atoms costs, if it went now."""
        channels = self.channels[atoms]
        if channels.shape[1] == 1:
            only = channels[:, 0]
            return self.products[only, only] / self.inverse[only, only]
        several = channels[:, :, None], channels[:, None, :]
        found: Array = np.trace(np.linalg.solve(self.inverse[several], self.products[several]), axis1=1, axis2=2)
        return found

    def remove(self, atom: int) -> None:
        """Fold the channels of an atom into those that are left: W'W and G^-1 of what is left."""
        for channel in self.channels[atom]:
            share = self.inverse[channel] / self.inverse[channel, channel]  # (C,): what W loses is W_i times this
            half = self.products[channel] - self.products[channel, channel] / 2 * share
            self.products -= np.stack([half, share], 1) @ np.stack([share, half])
            self.inverse -= np.outer(share, self.inverse[channel])
            self.inverse[channel, channel] = 1  # never read again, but a number to divide by
            self.there[channel] = False
        if self.there.mean() < 0.8:  # smaller matrices are faster
            kept = np.flatnonzero(self.there)
            self.products = self.products[np.ix_(kept, kept)]
            self.inverse = self.inverse[np.ix_(kept, kept)]
            self.channels = (np.cumsum(self.there) - 1)[self.channels]  # those of gone atoms are not asked for
            self.there = np.ones(len(kept), bool)


IMPORTANCES: Mapping[str, Importance] = {
    "nuclear": nuclear,
    "surgeon": surgeon,
    "bn_scale": bn_scale,
    "l1": l1,
    "random": random,
}
"""The scores by name; docs/channels.md compares them."""


def as_importance(importance: str | Importance) -> Importance:
    """The function that a name stands for.

    Raises:
        InputError: the name is unknown.
    """
    if callable(importance):
        return importance
    if importance not in IMPORTANCES:
        raise InputError(f"unknown importance {importance!r}: {did_you_mean(str(importance), IMPORTANCES)}")
    return IMPORTANCES[importance]


def score(importance: str | Importance, statistics: ChannelStatistics, seed: int = 0) -> dict[str, Array]:
    """The scores of all groups, by the group's name: float64 (atoms,). The seed is that of ``"random"``.

    Raises:
        InputError: the importance is unknown or returns something else, or a group lacks what it needs.
    """
    found, function = {}, as_importance(importance)
    if function is random:
        function = partial(random, seed=seed)
    for group in statistics.channels.groups:
        scores = np.asarray(function(group, statistics), np.float64)
        if scores.shape != (group.atoms,) or not np.isfinite(scores).all():
            what = f"shape {scores.shape}" if scores.shape != (group.atoms,) else "values that are not finite"
            raise InputError(
                f"importance {_name(importance)!r}: {what} for the group {group.name}; "
                f"return {group.atoms} finite scores"
            )
        found[group.name] = scores
    return found


def comparable(importance: str | Importance, scores: Mapping[str, Array]) -> dict[str, Array]:
    """Scores that can be compared between groups: divided by the mean of their group.

    The scale of a norm is comparable as it stands (Chu et al. share a threshold between layers), and training with
    sparsity relies on it. So may be what a function of your own returns.
    """
    if as_importance(importance) is bn_scale or not isinstance(importance, str):
        return dict(scores)
    return {name: values / (values.mean() or 1.0) for name, values in scores.items()}


def _name(importance: str | Importance) -> str:
    return importance if isinstance(importance, str) else getattr(importance, "__name__", "of your own")


def _scale(statistics: ChannelStatistics, norm: LayerChannels) -> Array:
    weight: Any = statistics.detector.module.get_submodule(norm.layer).weight
    found: Array = weight.detach().double().abs().cpu().numpy()
    return found
