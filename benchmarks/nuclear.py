"""The nuclear-norm score of all channels of a layer: one decomposition per channel, and one for all.

`python benchmarks/nuclear.py` prints one row per size. Both ways run by turns in one process. The naive way times some
rows (`--rows`) and scales to all. The error is the largest difference on these rows, over the largest singular value.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from measuring import grid, human

from anchorkit.channels.nuclear import nuclear_drops, torch_nuclear_drops

SIZES = ((64, 1600), (128, 1600), (256, 400), (256, 1600), (512, 400), (512, 1600), (1024, 100), (1024, 400))


def best(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest call: other programs on the machine only make calls slower."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def features_of(n: int, m: int, seed: int = 0) -> np.ndarray:
    """Maps as a network makes them: of falling singular values, at least 0, and about half of it 0."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, n)) / (1 + np.arange(n)) ** 0.5 @ rng.normal(size=(n, m))
    return np.maximum(mixed, 0)


def measure(n: int, m: int, rows: int, repeats: int, device: str) -> tuple[str, ...]:
    """One row of the table."""
    features = features_of(n, m)
    whole = np.linalg.svd(features, compute_uv=False)
    chosen = np.linspace(0, n - 1, min(rows, n)).astype(int)

    def naive() -> np.ndarray:
        return np.array(
            [whole.sum() - np.linalg.svd(np.delete(features, i, 0), compute_uv=False).sum() for i in chosen]
        )

    slow = best(naive, 1) * n / len(chosen)
    fast = best(lambda: nuclear_drops(features), repeats)
    error = np.abs(nuclear_drops(features)[chosen] - naive()).max() / whole[0]
    row = (str(n), str(m), human(slow), human(fast), f"{slow / fast:,.0f}", f"{error:.0e}")
    if device == "cpu":
        return row
    batch = torch.tensor(np.stack([features_of(n, m, seed) for seed in range(8)]), device=device)
    on_device = best(lambda: torch_nuclear_drops(batch).cpu(), repeats) / len(batch)
    difference = np.abs(torch_nuclear_drops(batch)[0].cpu().numpy()[chosen] - naive()).max() / whole[0]
    return (*row, human(on_device), f"{slow / on_device:,.0f}", f"{difference:.0e}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", help="N x hw, such as 256x1600")
    parser.add_argument("--rows", type=int, default=8, help="rows that the naive way times")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cuda adds columns: 8 matrices in a batch, seconds per matrix")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes] if options.sizes else SIZES
    head = ("N", "hw", "N decompositions", "one", "ratio", "error")
    if options.device != "cpu":
        head = (*head, options.device, "ratio", "error")
    torch_nuclear_drops(torch.rand(2, 4, 9, device=options.device))  # loads the libraries
    print(grid([head, *(measure(n, m, options.rows, options.repeats, options.device) for n, m in sizes)]))


if __name__ == "__main__":
    main()
