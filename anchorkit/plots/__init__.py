"""Charts: DataFrames in, Altair charts out; no state, no network, never more than 3,000 rows in a chart.

Call `setup` once at the top of a notebook. Every function says which columns its frames need. Accuracies are 0..1 in
the frames and points (25.7) in the charts; costs are drawn in thousands, millions or billions, and the axis says so.
"""

# ruff: noqa: E402

from __future__ import annotations

from anchorkit.lighter import import_jsonschema

import_jsonschema()  # before Altair does

from anchorkit.plots.boards import anchor_board, coverage_matrix
from anchorkit.plots.breakdowns import before_after, class_changes, level_costs, training_curve
from anchorkit.plots.channels import channel_scores, channel_widths
from anchorkit.plots.comparisons import run_frontiers, setting_effects
from anchorkit.plots.export import AnyChart, save, to_svg
from anchorkit.plots.image_charts import boxes_on_image
from anchorkit.plots.images import contact_sheet, draw_boxes, first_look
from anchorkit.plots.latencies import latency
from anchorkit.plots.picking import to_pickable_svg
from anchorkit.plots.reasons import error_changes
from anchorkit.plots.shape_map import shape_map
from anchorkit.plots.shapes import box_shapes, ground_truth_shapes
from anchorkit.plots.statistics import frontier_intervals, optimism
from anchorkit.plots.strategies import budget_curves, relative_frontiers, rivals
from anchorkit.plots.theme import aspect, level_color, setup
from anchorkit.plots.tradeoffs import frontier, pointer_on_frontier, recovery
from anchorkit.plots.trainings import anchor_sets, training_strips, trainings

__all__ = [
    "AnyChart",
    "anchor_board",
    "anchor_sets",
    "aspect",
    "before_after",
    "box_shapes",
    "boxes_on_image",
    "budget_curves",
    "channel_scores",
    "channel_widths",
    "class_changes",
    "contact_sheet",
    "coverage_matrix",
    "draw_boxes",
    "error_changes",
    "first_look",
    "frontier",
    "frontier_intervals",
    "ground_truth_shapes",
    "latency",
    "level_color",
    "level_costs",
    "optimism",
    "pointer_on_frontier",
    "recovery",
    "relative_frontiers",
    "rivals",
    "run_frontiers",
    "save",
    "setting_effects",
    "setup",
    "shape_map",
    "to_pickable_svg",
    "to_svg",
    "training_curve",
    "training_strips",
    "trainings",
]
