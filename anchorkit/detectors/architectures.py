"""The families of detectors that can be built, by name."""

from __future__ import annotations

from anchorkit.detectors import efficientdet, retinanet_resnet50, ssd300, ssdlite, tiny_retinanet, tiny_ssd
from anchorkit.detectors.base import Builder

BUILDERS: dict[str, Builder] = {
    "tiny_ssd": tiny_ssd.build,
    "tiny_ssd_overanchorized": tiny_ssd.build_overanchorized,
    "ssd300_vgg16": ssd300.build,
    "ssd300_vgg16_overanchorized": ssd300.build_overanchorized,
    "ssdlite320_mobilenet_v3_large": ssdlite.build_v3_large,
    "ssdlite300_mobilenet_v2": ssdlite.build_v2,
    "ssdlite300_mobilenet_v3_small": ssdlite.build_v3_small,
    "retinanet_resnet50_fpn": retinanet_resnet50.build,
    "retinanet_resnet50_fpn_v2": retinanet_resnet50.build_v2,
    "tiny_retinanet": tiny_retinanet.build,
    "efficientdet_d0": efficientdet.build,
    "efficientdet_d1": efficientdet.build_d1,
}
"""The builder of each family; `register_detector` adds to them."""
