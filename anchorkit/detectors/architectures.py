"""The families of detectors that can be built, by name."""

from __future__ import annotations

from anchorkit.detectors import (
    efficientdet,
    faster_rcnn,
    retinanet_resnet50,
    ssd300,
    ssdlite,
    tiny_retinanet,
    tiny_ssd,
    yolo_families,
    yolov5,
)
from anchorkit.detectors.base import Builder
from anchorkit.detectors.yolo import DARKNET, darknet

_FAMILIES = (
    tiny_ssd.TINY_SSD,
    tiny_ssd.OVERANCHORIZED,
    ssd300.SSD300,
    ssd300.OVERANCHORIZED,
    ssdlite.V3_LARGE,
    ssdlite.V2,
    ssdlite.V3_SMALL,
    retinanet_resnet50.V1,
    retinanet_resnet50.V2,
    tiny_retinanet.TINY_RETINANET,
    efficientdet.D0,
    efficientdet.D1,
    faster_rcnn.MOBILENET,
    faster_rcnn.RESNET,
    yolo_families.TINY_YOLO,
    yolo_families.YOLOV3,
    yolo_families.YOLOV3_TINY,
    yolo_families.YOLOV4,
    yolo_families.YOLOV4_TINY,
    yolo_families.YOLOV7_TINY,
    yolov5.YOLOV5N,
    yolov5.YOLOV5S,
)
BUILDERS: dict[str, Builder] = {**{family.architecture: family for family in _FAMILIES}, DARKNET: darknet}
"""The builder of each family; `register_detector` adds to them."""
