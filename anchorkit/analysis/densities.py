"""Densities of boxes over log2 width and height, on grids; what `redundancy` computes with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Array = npt.NDArray[np.float64]

_LEAST_BANDWIDTH = 0.05  # octaves


@dataclass(frozen=True)
class Axis:
    """Equal cells along a log2 axis."""

    edges: Array

    @classmethod
    def around(cls, values: Array, pad: float, cells: int) -> Axis:
        return cls(np.linspace(float(values.min()) - pad, float(values.max()) + pad, cells + 1))

    @property
    def step(self) -> float:
        return float(self.edges[1] - self.edges[0])

    @property
    def centres(self) -> Array:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def padded_centres(self) -> Array:
        """The centres, and one more cell on either side."""
        centres = self.centres
        return np.concatenate([[centres[0] - self.step], centres, [centres[-1] + self.step]])

    def sigma(self, bandwidth: float) -> float:
        """A bandwidth in cells, at least half of one."""
        return max(float(bandwidth) / self.step, 0.5)


def common_axis(groups: list[Array], side: int, cells: int) -> Axis:
    """An axis that holds the densities of all anchors on one side."""
    pad = 4.0 * max(float(bandwidth_of(points)[side]) for points in groups)
    return Axis.around(np.concatenate([points[:, side] for points in groups]), pad, cells)


def bandwidth_of(points: Array) -> Array:
    spread: Array = points.std(axis=0) * len(points) ** (-1 / 6)
    return np.maximum(spread, _LEAST_BANDWIDTH)


def density_of(points: Array, axes: list[Axis], bandwidth: Array) -> Array:
    histogram = np.histogram2d(points[:, 0], points[:, 1], bins=[axis.edges for axis in axes])[0]
    return smooth(histogram, [axis.sigma(width) for axis, width in zip(axes, bandwidth, strict=True)])


def smooth(histogram: Array, sigmas: list[float]) -> Array:
    """Smooth by a Gaussian and scale to a sum of 1."""
    smooth: Array = gaussian_filter(histogram, sigma=sigmas, mode="constant")
    smooth /= smooth.sum()
    return smooth


def region_density(density: Array, mass: float) -> float:
    """The density at the edge of the smallest region that holds `mass`."""
    falling = np.sort(density, axis=None)[::-1]
    # Rounding may keep the last sum below 1.
    last = min(int(np.searchsorted(falling.cumsum(), mass)), falling.size - 1)
    return float(falling[last])
