"""Made-up frames for the charts, with the columns and the proportions of real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Level

_MAPS = ((20, 14.0), (10, 30.0), (5, 58.0), (3, 92.0), (1, 128.0))


def layout() -> AnchorLayout:
    """A small SSD for 160 px: 5 levels of 6 anchors."""
    levels = []
    for position, (cells, scale) in enumerate(_MAPS):
        ratios = (1.0, 2.0, 0.5, 3.0, 1 / 3)
        shapes = [(scale * r**0.5, scale / r**0.5) for r in ratios] + [(scale * 1.32, scale * 1.32)]
        levels.append(Level(f"map{position}", cells, cells, tuple(shapes), 0, 9 * 64 * 11, 0, 9 * 64 * 11))
    return AnchorLayout("tiny_ssd", (160, 160), tuple(levels), trunk_macs=92_000_000)


def anchors(kept: tuple[int, ...] | None = None) -> pd.DataFrame:
    lay = layout()
    kept = kept if kept is not None else tuple(range(len(lay)))
    return pd.DataFrame(
        [
            {"anchor_id": a.id, "level": a.level, "width": a.width, "height": a.height, "kept": a.index in kept}
            for a in lay.anchors
        ]
    )


KEPT = (0, 2, 5, 6, 8, 9, 12, 15, 16, 19, 21, 27)


def head_flops(configuration: list[int]) -> int:
    lay = layout()
    return sum(
        lay.levels[lay.anchors[i].level].cells * lay.levels[lay.anchors[i].level].head_macs_per_anchor
        for i in configuration
    )


def _row(kept: list[int], accuracy: float) -> dict[str, object]:
    lay = layout()
    flops = head_flops(kept)
    return {
        "accuracy": accuracy,
        "boxes": sum(lay.levels[lay.anchors[i].level].cells for i in kept),
        "head_flops": flops,
        "total_flops": flops + 92_000_000,
        "head_parameters": len(kept) * 6336,
        "n_anchors": len(kept),
        "anchors": " ".join(lay.ids[i] for i in kept),
    }


def frontier() -> pd.DataFrame:
    """20 configurations, best first: little is lost at the start, much at the end."""
    rng = np.random.default_rng(0)
    kept = list(range(30))
    rows = [_row(kept, 0.5512)]
    order = [24, 3, 26, 28, 1, 25, 29, 23, 10, 22, 17, 13, 20, 18, 4, 7, 11, 14, 0, 12, 6, 9]
    for n, gone in enumerate(order):
        kept = [k for k in kept if k != gone]
        rows.append(_row(kept, 0.5519 - 0.0004 * n - 0.00001 * n**3.1 - 0.0002 * rng.random()))
    return pd.DataFrame(rows).iloc[1:].reset_index(drop=True)


def full() -> pd.DataFrame:
    return pd.DataFrame([_row(list(range(30)), 0.5512)])


def random_rows(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(n):
        size = int(rng.integers(6, 30))
        kept = sorted(rng.choice(30, size, replace=False).tolist())
        rows.append(_row(kept, max(0.5512 - 0.028 * (30 - size) ** 0.9 * rng.uniform(0.3, 1), 0.02)))
    return pd.DataFrame(rows)


def evaluated(n: int = 6000) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    best = frontier()
    pick = rng.integers(0, len(best), n)
    frame = best.iloc[pick].reset_index(drop=True)
    frame["accuracy"] = np.clip(frame["accuracy"] - rng.exponential(0.02, n) - 0.001, 0, 1)
    frame["head_flops"] = (
        (frame["head_flops"] * rng.uniform(1.0, 1.3, n)).astype(int).clip(upper=head_flops([*range(30)]))
    )
    frame["order"], frame["parent"] = range(n), -1
    return frame


def joint() -> pd.DataFrame:
    """The frontier with the last points from detectors with fewer channels."""
    shares = np.array([0.0, 0.05, 0.1, 0.2])
    return frontier().assign(channels=lambda rows: shares[np.arange(len(rows)) * 4 // len(rows)])


def groups() -> pd.DataFrame:
    """Groups of coupled channels in all three parts of a network."""
    rows = [("stem", "trunk", 2, 16, 12), ("body.0", "trunk", 8, 96, 40), ("body.1", "trunk", 16, 128, 128)]
    rows += [("lateral.0", "pyramid", 8, 64, 32), ("head.tower", "head", 8, 64, 1)]
    return pd.DataFrame(rows, columns=["group", "part", "stride", "channels", "kept"])


def scores() -> pd.DataFrame:
    """A score per channel of these groups; one group is dead."""
    rows = groups().loc[lambda frame: frame.index.repeat(frame["channels"])].drop(columns="kept")
    values = np.random.default_rng(3).gamma(2.0, size=len(rows))
    return rows.assign(score=np.where(rows["group"] == "body.1", 0.0, values), kept=values > 0.6)


def chosen() -> pd.DataFrame:
    return frontier().iloc[[3, 9, 15]]


def recovery() -> pd.DataFrame:
    rows = [{"point": "unpruned", "stage": "full", **full().iloc[0].to_dict()}]
    for name, at, tuned, again in (
        ("A", 3, 0.004, 0.003),
        ("B", 9, 0.006, 0.009),
        ("C", 15, 0.012, 0.03),
        ("D", 20, 0.016, 0.06),
    ):
        row = frontier().iloc[at].to_dict()
        for stage, gain in (("pruned", 0.0), ("fine-tuned", tuned), ("retrained", again)):
            rows.append({"point": name, "stage": stage, **row, "accuracy": row["accuracy"] + gain, "split": "val"})
    return pd.DataFrame(rows)


def contours() -> pd.DataFrame:
    rows = []
    turn = np.linspace(0, 2 * np.pi, 90)
    for a in layout().anchors:
        rng = np.random.default_rng(a.index)
        cx, cy = np.log2(a.width) + rng.normal(0, 0.15), np.log2(a.height) + rng.normal(0, 0.15)
        for mass, radius in ((0.5, 0.33), (0.8, 0.6)):
            r = radius * (1 + 0.18 * np.sin(3 * turn + a.index) + 0.08 * np.cos(5 * turn))
            for order, (w, h) in enumerate(
                zip(2 ** (cx + r * np.cos(turn)), 2 ** (cy + 0.8 * r * np.sin(turn)), strict=True)
            ):
                rows.append((a.id, a.level, mass, 0, order, w, h))
    return pd.DataFrame(rows, columns=["anchor_id", "level", "mass", "path", "order", "width", "height"])


def marginals() -> pd.DataFrame:
    rows = []
    values = 2 ** np.linspace(2, 8, 48)
    for a in layout().anchors:
        for side, center in (("width", a.width), ("height", a.height)):
            density = np.exp(-(((np.log2(values) - np.log2(center)) / 0.4) ** 2))
            density[density < 1e-3] = 0
            rows += [(a.id, a.level, side, v, d) for v, d in zip(values, density, strict=True)]
    return pd.DataFrame(rows, columns=["anchor_id", "level", "side", "value", "density"])


def coverage() -> pd.DataFrame:
    rows = []
    for a in layout().anchors:
        total = 0.0
        for b in layout().anchors:
            d = np.hypot(np.log2(a.width / b.width), np.log2(a.height / b.height))
            share = float(np.exp(-(d**2)))
            total = max(total, share if a.id != b.id else 0)
            rows.append((a.id, b.id, share))
        rows.append((a.id, "all others", min(1.0, total * 1.2)))
    return pd.DataFrame(rows, columns=["anchor_id", "by_id", "share"])


def ground_truth(n: int = 5000) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    size = np.exp(rng.uniform(np.log(14), np.log(120), n))
    ratio = np.exp(rng.normal(0, 0.5, n))
    return pd.DataFrame({"width": np.clip(size * ratio**0.5, 3, 160), "height": np.clip(size / ratio**0.5, 3, 160)})


def history() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    step = np.arange(1, 1801)
    frame = pd.DataFrame({"step": step, "epoch": step // 60, "lr": 1e-3})
    frame["loss"] = 6 * np.exp(-step / 400) + 1.4 + rng.normal(0, 0.25, len(step))
    frame["val_AP"] = np.where(step % 180 == 0, 0.56 * (1 - np.exp(-step / 500)), np.nan)
    return frame


def sparse_history() -> pd.DataFrame:
    """A training with sparsity and a teacher, one row an epoch."""
    rng = np.random.default_rng(5)
    epoch = np.arange(1, 31)
    frame = pd.DataFrame({"epoch": epoch, "step": 60 * epoch, "lr": 1e-3, "val_AP": np.nan})
    frame["loss"] = 4 * np.exp(-epoch / 7) + 1.4 + rng.normal(0, 0.05, len(epoch))
    frame.loc[frame.index[-1], "val_AP"] = 0.56
    frame["penalty"] = np.where(epoch <= 12, 300 * np.exp(-epoch / 20), 40 * np.exp(-epoch / 15))
    frame["small_scales"] = 0.55 / (1 + np.exp((18 - epoch) / 2.5))
    frame["distilling"] = 0.8 * np.exp(-epoch / 9) + 0.12
    return frame


def level_costs(kept: tuple[int, ...] | None = None) -> pd.DataFrame:
    lay = layout()
    kept = tuple(range(30)) if kept is None else kept
    rows = []
    for position, level in enumerate(lay.levels):
        count = sum(lay.anchors[i].level == position for i in kept)
        rows.append(
            {
                "name": level.name,
                "height": level.height,
                "width": level.width,
                "anchors": count,
                "boxes": count * level.cells,
                "head_flops": count * level.cells * level.head_macs_per_anchor,
            }
        )
    return pd.DataFrame(rows)


def class_changes(n: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    before = rng.uniform(0.3, 0.7, n)
    return pd.DataFrame(
        {"category": [f"class {i}" for i in range(n)], "before": before, "after": before + rng.normal(0, 0.02, n)}
    )


def table() -> pd.DataFrame:
    rows = pd.concat([full(), frontier().iloc[[3, 9, 15]]], ignore_index=True)
    return rows.assign(name=["unpruned", "A", "B", "C"])


def latency() -> pd.DataFrame:
    """Two detectors in two runtimes, as `anchorkit.latency.LatencyReport.frame` has them."""
    medians = {"unpruned": (8.2, 3.1), "pruned": (6.9, 1.4)}
    rows = []
    for runtime, speed in (("torch", 1.0), ("onnxruntime", 0.45)):
        for name, (network, postprocess) in medians.items():
            parts = {"network": network * speed, "postprocess": postprocess, "total": network * speed + postprocess}
            rows += [
                {
                    "detector": name,
                    "part": part,
                    "runtime": runtime,
                    "threads": 1,
                    "median_ms": median,
                    "q25_ms": 0.96 * median,
                    "q75_ms": 1.06 * median,
                }
                for part, median in parts.items()
            ]
    return pd.DataFrame(rows)


def error_changes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "error": ["classification", "localisation", "both", "duplicate", "background", "missed"],
            "dap_before": [0.041, 0.087, 0.011, 0.007, 0.013, 0.086],
            "dap_after": [0.043, 0.084, 0.011, 0.006, 0.013, 0.121],
            "count_before": [3826, 6121, 7116, 1363, 13621, 879],
            "count_after": [3610, 6002, 6904, 1290, 13109, 1204],
        }
    )


def image() -> np.ndarray:
    rows, columns = np.mgrid[0:90, 0:120]
    return np.stack([rows * 2, columns * 2, rows + columns], axis=2).astype(np.uint8)


def image_boxes() -> pd.DataFrame:
    """A box of each style; the second leaves the image, the third is small and lies within the first."""
    return pd.DataFrame(
        {
            "x1": [10.0, 70.0, 20.0],
            "y1": [10.0, -5.0, 30.0],
            "x2": [60.0, 140.0, 30.0],
            "y2": [80.0, 40.0, 45.0],
            "color": ["#1f5fe0", "#b03020", "#1f2328"],
            "style": ["found", "false alarm", "missed"],
            "label": ["L0/16x16", "", "lost cup"],
            "marked": [False, False, True],
            "pick": ["a", "b", "c"],
            "note": ["finds cup", "false alarm", "cup, not found"],
        }
    )
