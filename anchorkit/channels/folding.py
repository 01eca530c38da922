"""Folding: what a removed channel carried goes into the weights of the layers that read it.

A channel that DCODP calls redundant is (nearly) a linear combination of the others. Then a reader can do without: its
weights of the kept channels take over, `W[:, kept] += W[:, gone] X'` with X the least-squares coefficients of the gone
channels in the kept ones, over all images and cells: `G[kept, kept] X = G[kept, gone]`. No image is needed beyond the
Gram matrix G. Exact where channels are dependent, and with zero padding too, as coefficients have no constant term. A
depthwise reader cannot take over: each of its channels reads one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from anchorkit.channels.statistics import ChannelStatistics, columns_per_channel, read_channels
from anchorkit.detectors import Detector
from anchorkit.detectors.channel_groups import ChannelGroup, Reader
from anchorkit.errors import InputError

Array = npt.NDArray[np.float64]

_RIDGE = 1e-6
"""Relative to the mean of the diagonal; only for inverses of the whole matrix, which dead channels make singular."""

_CUTOFF = 1e-10
"""Directions of the kept channels below this share of the largest eigenvalue carry rounding, and take over nothing."""


@dataclass(frozen=True, eq=False)
class _Read:
    """One reader that can fold: all that goes from the map it reads, of whichever groups."""

    reader: Reader
    cells: int
    gone: npt.NDArray[np.int64]


def fold(detector: Detector, statistics: ChannelStatistics, keep: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """Put what the gone channels carried into the weights of their readers, in place; they can be cut then.

    Args:
        detector: a copy of the detector of the statistics.
        statistics: of the detector with all its channels.
        keep: by the group's name, the atoms that stay. Other groups stay whole.

    Returns:
        One row per reader that loses channels: ``layer``; ``gone``, how many of the channels that it reads;
        ``lost``, the squared change of its output as a share of the output's square, if these were only cut;
        ``lost_folded``, the same after folding. Both over the images of the statistics, with all else unchanged.
    """
    rows = []
    for read in _readers(statistics, keep):
        gram, weight = statistics.gram(read.reader), oriented_weight(detector, read.reader.layer)
        kept = np.setdiff1d(np.arange(len(gram)), read.gone)
        shares = coefficients(gram, kept, read.gone)  # (kept, gone)
        matrix = _columns(weight, read.cells)  # (R, C)
        cut, size = matrix[:, read.gone], float(np.sum((matrix @ gram) * matrix))
        residual = gram[np.ix_(read.gone, read.gone)] - gram[np.ix_(read.gone, kept)] @ shares
        before = float(np.sum((cut @ gram[np.ix_(read.gone, read.gone)]) * cut))
        after = max(float(np.sum((cut @ residual) * cut)), 0.0)
        rows.append((read.reader.layer, len(read.gone), *(loss / size if size else 0.0 for loss in (before, after))))
        matrix[:, kept] += cut @ shares.T
        _write(weight, matrix, read.cells)
    return pd.DataFrame(rows, columns=["layer", "gone", "lost", "lost_folded"])


def coefficients(gram: Array, kept: npt.NDArray[np.int64], gone: npt.NDArray[np.int64]) -> Array:
    """Of each gone channel, its share in each kept one that is nearest in least squares: (kept, gone).

    Of several solutions the smallest. A channel that is equal to a kept one has exactly that as its share.

    >>> gram = np.array([[2.0, 0, 2, 4], [0, 3, 3, 0], [2, 3, 5, 4], [4, 0, 4, 8]])  # 2 = 0 + 1; 3 = twice 0
    >>> coefficients(gram, np.array([0, 1]), np.array([2, 3])).round(9).tolist()
    [[1.0, 2.0], [1.0, 0.0]]
    """
    values, vectors = np.linalg.eigh(gram[np.ix_(kept, kept)])
    good = values > _CUTOFF * values[-1]
    inverse = vectors[:, good] / values[good]
    found: Array = inverse @ (vectors[:, good].T @ gram[np.ix_(kept, gone)])
    return found


def regularised(gram: Array) -> Array:
    """A Gram matrix that has an inverse, dead channels or not."""
    size = float(np.trace(gram)) / len(gram)
    return gram + _RIDGE * (size or 1.0) * np.eye(len(gram))


def reader_matrix(group: ChannelGroup, reader: Reader, statistics: ChannelStatistics) -> Array:
    """float64 (R, C): a reader's weights, one column per channel of the map it reads."""
    return _columns(oriented_weight(statistics.detector, reader.layer), columns_per_channel(group, reader))


def _readers(statistics: ChannelStatistics, keep: Mapping[str, Sequence[int]]) -> Iterator[_Read]:
    gone: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    known: dict[str, tuple[Reader, int]] = {}
    for group in statistics.channels.groups:
        atoms = np.setdiff1d(np.arange(group.atoms), keep.get(group.name, range(group.atoms)))
        for reader in group.readers:
            if len(atoms) and not reader.depthwise:
                gone[reader.layer].append(read_channels(group, reader)[atoms].ravel())
                known[reader.layer] = reader, columns_per_channel(group, reader)
    for layer, channels in gone.items():
        yield _Read(*known[layer], np.unique(np.concatenate(channels)))


def oriented_weight(detector: Detector, layer: str) -> torch.Tensor:
    """The weights of a layer, (outputs, inputs, ...), as a view: what is written there is written to the layer.

    Raises:
        InputError: the layer has no such weights.
    """
    module = detector.module.get_submodule(layer)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim < 2:
        raise InputError(
            f"{layer}: {type(module).__name__} reads channels, but has no tensor `weight` (outputs, inputs, ...); "
            "name the other groups with ratio={group: ...}, or cut with anchorkit.detectors.cut_channels"
        )
    transposed = isinstance(module, torch.nn.modules.conv._ConvTransposeNd)
    return weight.data.transpose(0, 1) if transposed else weight.data


def _columns(weight: torch.Tensor, cells: int) -> Array:
    """(O, I, ...) as float64 (O * rest, C): a column has all the weights of one channel."""
    columns: Array = weight.double().cpu().numpy().reshape(len(weight), -1, cells, *weight.shape[2:])
    return np.ascontiguousarray(np.moveaxis(columns, 1, -1)).reshape(-1, columns.shape[1])


def _write(weight: torch.Tensor, matrix: Array, cells: int) -> None:
    """The inverse of `_columns`, into the weight itself."""
    shape = (len(weight), cells, *weight.shape[2:], matrix.shape[1])
    columns = np.moveaxis(matrix.reshape(shape), -1, 1).reshape(weight.shape)
    weight.copy_(torch.from_numpy(np.ascontiguousarray(columns)))
