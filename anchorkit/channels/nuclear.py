"""How much of a matrix's nuclear norm each row carries: DCODP's score of all channels of a layer, computed at once.

DCODP (Neural Processing Letters 57:21, equation 10) scores channel i of a layer by
`CP(i) = ||A||_* - ||A without row i||_*`. A (N, hw) holds the layer's maps, one channel a row, and ||.||_* is the sum
of the singular values. A low score means that the other channels express this one. Taken literally, N channels need N
singular value decompositions.

One suffices. Let `A A' = U diag(s) U'` and `w[i, j] = U[i, j]^2`. By Jacobi's formula for minors,
`det(G - row i + t) / det(G + t)` is `f_i(t) = sum_j w[i, j] / (s_j + t)`, where G is A A'. With
`sqrt(s) = 1/pi * integral of s / (s + t) / sqrt(t) dt` this gives

    CP(i) = 1/pi * integral over t > 0 of  [sum_j w[i, j] s_j / (s_j + t)^2] / f_i(t) / sqrt(t) dt.

With t = exp(y) the integrand is analytic in the strip |Im y| < pi. The trapezoid rule with step 0.55 is then exact to
exp(-2 pi^2 / 0.55) = 3e-16. All terms are positive, so nothing cancels. The nodes share two products
(N, N) x (N, 241).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from anchorkit.errors import InputError

__all__ = ["naive_nuclear_drops", "nuclear_drops", "torch_nuclear_drops"]

_STEP = 0.55
_NODES = np.exp(_STEP * np.arange(-120, 121))  # (241,), relative to the largest squared singular value
_WEIGHTS = _STEP / np.pi * np.sqrt(_NODES)
# A Gram matrix knows a singular value only to (rounding of its square) / (2 x value). Below this square (the largest is
# 1), that is more than 1e-11 of the largest singular value, and the features themselves are decomposed.
_GRAM_FLOOR = 1e-10


def nuclear_drops(features: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How much the nuclear norm falls when one row is taken out, for each row.

    Args:
        features: (N, M) or (B, N, M), finite; N channels with M values each. B matrices are independent of each other.

    Returns:
        (N,) or (B, N) float64, at least 0 and at most the length of the row. The error is below 1e-10 of the largest
        singular value. Equal to the row's length only where the row is orthogonal to all others; 0 for a row of zeros.

    Raises:
        InputError: A value is not finite, or the shape is none of these.

    Source: equation (10) of DCODP (Neural Processing Letters 57:21); the integral is this kit's.

    >>> nuclear_drops([[1, 0], [1, 0], [0, 1]]).round(6).tolist()
    [0.414214, 0.414214, 1.0]
    >>> nuclear_drops([[3, 0], [0, 4]]).round(6).tolist()
    [3.0, 4.0]
    """
    maps = np.asarray(features, dtype=np.float64)
    _check(maps.shape, bool(np.isfinite(maps).all()))
    drops: npt.NDArray[np.float64] = _drops(maps.reshape(-1, *maps.shape[-2:]), np, _NODES, _WEIGHTS)
    return drops.reshape(maps.shape[:-1])


def torch_nuclear_drops(features: torch.Tensor) -> torch.Tensor:
    """`nuclear_drops` of a batch, on the tensor's device.

    Args:
        features: (B, N, M), any floating type, finite.

    Returns:
        (B, N) float64 on the same device (on the CPU where the device has no float64).

    Raises:
        InputError: A value is not finite, or the shape is another.

    >>> import torch
    >>> torch_nuclear_drops(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])).numpy().round(6).tolist()
    [[0.414214, 0.414214, 1.0]]
    """
    maps = (features.cpu() if features.device.type == "mps" else features).detach().double()
    _check(maps.shape, bool(maps.isfinite().all()))
    nodes, weights = maps.new_tensor(_NODES), maps.new_tensor(_WEIGHTS)
    drops: torch.Tensor = _drops(maps.reshape(-1, *maps.shape[-2:]), torch, nodes, weights)
    return drops.reshape(maps.shape[:-1])


def naive_nuclear_drops(features: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The same as equation (10) reads: one decomposition per row. The reference of the tests and the benchmark.

    >>> naive_nuclear_drops([[1, 0], [0, 1], [1, 1]]).round(6).tolist()
    [0.495983, 0.495983, 0.732051]
    """
    maps = np.asarray(features, dtype=np.float64)
    _check(maps.shape, bool(np.isfinite(maps).all()))
    whole = np.linalg.svd(maps, compute_uv=False).sum()
    rows = range(len(maps))
    return np.array([whole - np.linalg.svd(np.delete(maps, i, 0), compute_uv=False).sum() for i in rows])


def _drops(maps: Any, xp: Any, nodes: Any, weights: Any) -> Any:
    """The scores of a batch (B, N, M): `xp` is numpy or torch, and the rest its arrays."""
    _, n, m = maps.shape
    if 0 in maps.shape:
        return xp.zeros_like(maps.sum(-1))
    largest = xp.amax(xp.abs(maps), axis=(1, 2))[:, None]  # (B, 1)
    scaled = maps / (largest + (largest == 0))[..., None]  # squares neither overflow nor vanish
    dead = xp.all(scaled == 0, axis=2)  # (B, N)
    if n <= m:
        gram = scaled @ scaled.mT  # (B, N, N)
        gram[:, range(n), range(n)] += dead  # a direction of its own: the rest is as it was, and G has full rank
        squares, vectors = xp.linalg.eigh(gram)
        drops = _integrate(squares, vectors, xp, nodes, weights)
        exact = squares[:, 0] > _GRAM_FLOOR * squares[:, -1]
    else:
        drops, exact = xp.zeros_like(maps[..., 0]), xp.zeros_like(maps[:, 0, 0]) > 0
    if not exact.all():
        # Null vectors are needed too: their squares, computed as 1 - the sum of the others, would lose half the digits.
        vectors, values, _ = xp.linalg.svd(scaled[~exact], full_matrices=n > m)
        squares = xp.zeros_like(vectors[..., 0])
        squares[:, : values.shape[1]] = values**2
        drops[~exact] = _integrate(squares, vectors, xp, nodes, weights)
    return largest * drops * ~dead


def _integrate(squares: Any, vectors: Any, xp: Any, nodes: Any, weights: Any) -> Any:
    """The integral of the module's docstring.

    Args:
        squares: (B, N), squared singular values.
        vectors: (B, N, N), the left singular vectors as columns.
        xp: numpy or torch, whose arrays these are.
        nodes: (T,), relative to the largest square.
        weights: (T,).
    """
    largest = xp.amax(squares, axis=-1)[:, None]
    largest = largest + (largest == 0)  # all is zero: any scale will do
    relative = (squares / largest).clip(0, 1)[..., None]  # (B, N, 1); rounding can leave a square below 0
    inverse = 1 / (relative + nodes)  # (B, N, T)
    w = vectors**2
    integrand = (w @ (relative * inverse**2)) / (w @ inverse)  # (B, N, T)
    return largest**0.5 * (integrand @ weights)


def _check(shape: tuple[int, ...], finite: bool) -> None:
    if len(shape) not in (2, 3):
        raise InputError(f"features have shape {tuple(shape)}; give (channels, values) or (images, channels, values)")
    if not finite:
        raise InputError("the features hold a value that is not finite")
