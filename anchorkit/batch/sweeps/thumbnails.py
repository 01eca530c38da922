"""Small pictures of frontiers, all with one scale and each over those of all runs, to compare runs at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from anchorkit.runs.results_table import read_search

WIDTH, HEIGHT = 132, 84
_MARGIN = 7
_LEAST_DEPTH = 0.005  # of accuracy, so that frontiers without a loss are not magnified

Frontier = Sequence[tuple[float, float]]


def read_frontier(run: Path) -> Frontier | None:
    """The frontier of a run by rising cost; None if it has no search.

    Returns:
        The share of the searched cost that is left (0..1), and the accuracy less that of the full detector.

    Raises:
        InputError: the search's files are damaged.
    """
    search = read_search(run)
    if search is None:
        return None
    full = search.baseline
    rows = search.frontier.sort_values(search.cost)
    shares = (rows[search.cost] / float(full[search.cost])).tolist()
    gains = (rows["accuracy"] - float(full["accuracy"])).tolist()
    return list(zip(shares, gains, strict=True))


def thumbnails(frontiers: Mapping[str, Frontier]) -> tuple[str, dict[str, str]]:
    """Draw frontiers as steps.

    Args:
        frontiers: by run, as from `read_frontier`.

    Returns:
        The SVG that the page needs once, before the first picture; and an SVG for each run.
    """
    values = [gain for frontier in frontiers.values() for _, gain in frontier]
    low, high = min([-_LEAST_DEPTH, *values]), max([0.0, *values])
    left = 0.9 * min([1.0, *(share for frontier in frontiers.values() for share, _ in frontier)])

    def place(share: float, gain: float) -> tuple[float, float]:
        across, up = (share - left) / (1 - left), (gain - low) / (high - low)
        return _MARGIN + (WIDTH - 2 * _MARGIN) * across, HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * up

    paths = {}
    for run, frontier in frontiers.items():
        text = ""
        for share, gain in frontier:
            x, y = place(share, gain)
            # A step: up to the next point of the frontier, the last one is the best.
            text += f"H{x:.1f}V{y:.1f}" if text else f"M{x:.1f} {y:.1f}"
        paths[run] = text
    all_paths = "".join(f'<path d="{path}"/>' for path in paths.values())
    shared = f'<svg width="0" height="0" class="shared" aria-hidden="true"><g id="all-frontiers">{all_paths}</g></svg>'
    x, y = place(1.0, 0.0)
    ground = (
        f'<path class="full" d="M{_MARGIN} {y:.1f}H{x:.1f}"/><use href="#all-frontiers" class="others"/>'
        f'<circle class="full" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    )
    opening = f'<svg class="frontier" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return shared, {
        run: f'{opening} aria-label="frontier">{ground}<path class="own" d="{path}"/></svg>'
        for run, path in paths.items()
    }
