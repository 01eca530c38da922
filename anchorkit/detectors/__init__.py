"""Detectors: build, load, raw predictions, head surgery, save, export."""

# ruff: noqa: E402

from anchorkit.lighter import import_torch_extras

import_torch_extras()  # before torchvision or a module here imports them

from anchorkit.detectors.base import (
    Builder,
    Detector,
    boxes_by_anchor,
    cannot_be_trained,
    kept_by_level,
    to_tensor,
)
from anchorkit.detectors.channel_costs import parameter_cost
from anchorkit.detectors.channel_groups import ChannelGroup, CoupledChannels
from anchorkit.detectors.channel_maps import watch_maps
from anchorkit.detectors.channel_surgery import cut_channels, masked_channels
from anchorkit.detectors.checkpoints import Checkpoint, read_checkpoint
from anchorkit.detectors.coupling import coupled_channels
from anchorkit.detectors.darknet_weights import export_darknet
from anchorkit.detectors.export import export_onnx
from anchorkit.detectors.fresh import untrained
from anchorkit.detectors.heads import keep_filters
from anchorkit.detectors.registry import (
    layout_of,
    list_detectors,
    load_detector,
    register_detector,
    save_detector,
    weights_file,
)
from anchorkit.postprocess import RawPredictions
from anchorkit.pruning import prune

__all__ = [
    "Builder",
    "ChannelGroup",
    "Checkpoint",
    "CoupledChannels",
    "Detector",
    "RawPredictions",
    "boxes_by_anchor",
    "cannot_be_trained",
    "coupled_channels",
    "cut_channels",
    "export_darknet",
    "export_onnx",
    "keep_filters",
    "kept_by_level",
    "layout_of",
    "list_detectors",
    "load_detector",
    "masked_channels",
    "parameter_cost",
    "prune",
    "read_checkpoint",
    "register_detector",
    "save_detector",
    "to_tensor",
    "untrained",
    "watch_maps",
    "weights_file",
]
