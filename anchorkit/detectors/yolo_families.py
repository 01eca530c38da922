"""The YOLO family by name: YOLOv3, YOLOv4, YOLOv7-tiny in darknet's form, their small ones, and the kit's `tiny_yolo`.

Each is a short description of its layers, which count as in darknet's file: published ``.weights`` files fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from anchorkit.detectors.darknet_sections import (
    Cfg,
    Convolution,
    MaxPool,
    Route,
    Section,
    Shortcut,
    Upsample,
    Yolo,
)
from anchorkit.detectors.yolo import yolo_family

_CLASSES = 80  # only for a count in the file's form: a detector has those of its categories
_NET = (("batch", "64"), ("subdivisions", "8"), ("learning_rate", "0.001"), ("momentum", "0.949"), ("decay", "0.0005"))

Anchors = tuple[tuple[float, float], ...]
# fmt: off
V3_ANCHORS: Anchors = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
V4_ANCHORS: Anchors = (
    (12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401),
)
TINY_ANCHORS: Anchors = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
# fmt: on


class Layers:
    """Layers that are added one after the other. Each method gives the number of the layer that it adds last.

    Args:
        activation: of the convolutions.
    """

    def __init__(self, activation: str = "leaky") -> None:
        self.sections: list[Section] = []
        self.activation = activation

    def add(self, section: Section) -> int:
        self.sections.append(section)
        return self.last

    @property
    def last(self) -> int:
        return len(self.sections) - 1

    def conv(self, *filters: int, size: int = 0, stride: int = 1) -> int:
        """Convolutions. Without a size, sizes 1 and 3 alternate, beginning with 1."""
        for number, count in enumerate(filters):
            side = size or (1, 3)[number % 2]
            self.add(
                Convolution(filters=count, size=side, stride=stride, padding=side // 2, activation=self.activation)
            )
        return self.last

    def pool(self, size: int = 2, stride: int = 2) -> int:
        return self.add(MaxPool(size=size, stride=stride, padding=size - 1))

    def route(self, *sources: int, groups: int = 1, part: int = 0) -> int:
        return self.add(Route(sources=sources, groups=groups, part=part))

    def residual(self, inner: int, outer: int, times: int = 1) -> int:
        for _ in range(times):
            before = self.last
            self.conv(inner, outer)
            self.add(Shortcut(source=before))
        return self.last

    def pyramid_pooling(self, *sizes: int) -> int:
        """The map and its largest values in windows of these sizes, the largest window first."""
        before = self.last
        pooled: list[int] = []
        for size in sizes:
            if pooled:
                self.route(before)
            pooled.append(self.pool(size, 1))
        return self.route(*reversed(pooled), before)

    def upward(self, filters: int, lateral: int, lateral_filters: int = 0) -> int:
        """A finer map: this one enlarged, beside a map of the trunk, itself or after a convolution."""
        self.conv(filters)
        larger = self.add(Upsample(stride=2))
        if not lateral_filters:
            return self.route(larger, lateral)
        self.route(lateral)
        return self.route(self.conv(lateral_filters), larger)

    def downward(self, filters: int, lateral: int) -> int:
        """A coarser map: this one halved, beside one of that size."""
        return self.route(self.conv(filters, size=3, stride=2), lateral)

    def yolo(self, anchors: Anchors, scale: float = 1.0, squared: bool = False) -> int:
        """The last convolution of a level and its boxes."""
        outputs = (5 + _CLASSES) * len(anchors)
        activation = "logistic" if squared else "linear"
        self.add(Convolution(filters=outputs, normalized=False, activation=activation))
        return self.add(Yolo(anchors=anchors, classes=_CLASSES, scale=scale, squared=squared))

    def cfg(self, size: int) -> Cfg:
        return Cfg(size, size, tuple(self.sections), _NET)


def _yolov3() -> Cfg:
    net, ends, middle = Layers(), [], -1
    net.conv(32, size=3)
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        net.conv(filters, size=3, stride=2)
        ends.append(net.residual(filters // 2, filters, blocks))
    for level, filters in zip((2, 1, 0), (512, 256, 128), strict=True):
        if level < 2:
            net.route(middle)
            net.upward(filters, ends[2 + level])
        net.conv(*(filters, 2 * filters) * 2, filters)
        middle = net.last
        net.conv(2 * filters, size=3)
        net.yolo(V3_ANCHORS[3 * level : 3 * level + 3])
    return net.cfg(416)


def _yolov3_tiny() -> Cfg:
    net, ends = Layers(), []
    for filters in (16, 32, 64, 128, 256, 512):
        ends.append(net.conv(filters, size=3))
        net.pool(stride=1 if filters == 512 else 2)
    net.conv(1024, size=3)
    middle = net.conv(256)
    net.conv(512, size=3)
    net.yolo(TINY_ANCHORS[3:])
    net.route(middle)
    net.upward(128, ends[4])
    net.conv(256, size=3)
    net.yolo(TINY_ANCHORS[:3])
    return net.cfg(416)


def _yolov4_tiny() -> Cfg:
    net = Layers()
    net.conv(32, 64, size=3, stride=2)
    for filters in (64, 128, 256):
        first = net.conv(filters, size=3)
        net.route(first, groups=2, part=1)
        half = net.conv(filters // 2, size=3)
        net.route(net.conv(filters // 2, size=3), half)
        lateral = net.conv(filters)
        net.route(first, lateral)
        net.pool()
    net.conv(512, size=3)
    middle = net.conv(256)
    net.conv(512, size=3)
    net.yolo(TINY_ANCHORS[3:], scale=1.05)
    net.route(middle)
    net.upward(128, lateral)
    net.conv(256, size=3)
    net.yolo(TINY_ANCHORS[1:4], scale=1.05)
    return net.cfg(416)


def _cross_stage(net: Layers, filters: int, blocks: int, *, inner: int = 0, whole: bool = False) -> int:
    """YOLOv4's stage (CSP): halves the map; one branch of convolutions with shortcuts, and one without.

    Args:
        net: gets the layers.
        filters: of the stage.
        blocks: convolutions with a shortcut.
        inner: filters within a block; by default half the branch's.
        whole: each branch is as wide as the stage, else half as wide.
    """
    branch = filters if whole else filters // 2
    start = net.conv(filters, size=3, stride=2)
    side = net.conv(branch)
    net.route(start)
    net.conv(branch)
    net.residual(inner or branch, branch, blocks)
    net.route(net.conv(branch), side)
    return net.conv(filters)


def _path_aggregation(
    net: Layers,
    ends: Sequence[int],
    anchors: Sequence[Anchors],
    *,
    filters: int,
    blocks: int,
    windows: tuple[int, ...],
    scales: tuple[float, ...],
    squared: bool = False,
) -> None:
    """YOLOv4's neck (SPP and PAN) and heads.

    Args:
        net: has the trunk, and gets the layers.
        ends: the trunk's maps, finest first.
        anchors: of the levels, finest first.
        filters: of the finest level's 1x1 convolutions; doubled from level to level.
        blocks: pairs of convolutions at each place.
        windows: sides of the windows of the SPP in cells.
        scales: of the levels' boxes, finest first; see `Yolo`.
        squared: see `Yolo`.
    """
    widths = [filters * 2**level for level in range(len(ends))]
    top = widths[-1]
    net.conv(top, 2 * top, top)
    net.pyramid_pooling(*windows)
    downs = [net.conv(top, 2 * top, top)]
    for level in reversed(range(len(ends) - 1)):
        net.upward(widths[level], ends[level], widths[level])
        downs.append(net.conv(*(widths[level], 2 * widths[level]) * blocks, widths[level]))
    downs.reverse()
    middle = -1
    for level, width in enumerate(widths):
        if level:
            net.route(middle)
            net.downward(width, downs[level])
            net.conv(*(width, 2 * width) * blocks, width)
        middle = net.last
        net.conv(2 * width, size=3)
        net.yolo(anchors[level], scales[level], squared)


def _yolov4() -> Cfg:
    net = Layers("mish")
    net.conv(32, size=3)
    _cross_stage(net, 64, 1, inner=32, whole=True)
    ends = [_cross_stage(net, filters, blocks) for filters, blocks in ((128, 2), (256, 8), (512, 8), (1024, 4))][1:]
    net.activation = "leaky"
    anchors = [V4_ANCHORS[first : first + 3] for first in (0, 3, 6)]
    _path_aggregation(net, ends, anchors, filters=128, blocks=2, windows=(5, 9, 13), scales=(1.2, 1.1, 1.05))
    return net.cfg(608)


def _tiny_yolo() -> Cfg:
    size = 160
    net = Layers()
    net.conv(16, size=3, stride=2)
    ends = [_cross_stage(net, filters, 1) for filters in (32, 64, 96, 128)][1:]
    # Centres and sides as Scaled-YOLOv4 has them: more cells learn an object, and no side can explode.
    anchors = _tiny_shapes((size, size))
    _path_aggregation(net, ends, anchors, filters=16, blocks=1, windows=(3, 5, 7), scales=(2.0, 2.0, 2.0), squared=True)
    return net.cfg(size)


# Anchors of tiny_yolo over the input's sides: squares, and shapes twice as high and twice as wide.
_TINY_SCALES = (0.11, 0.25, 0.55)


def _tiny_shapes(size: tuple[int, int]) -> list[Anchors]:
    height, width = size
    shapes = ((1, 1), (0.7, 1.4), (1.4, 0.7))
    return [tuple((round(w * s * width, 2), round(h * s * height, 2)) for w, h in shapes) for s in _TINY_SCALES]


def _aggregated(net: Layers, inner: int, filters: int) -> int:
    """YOLOv7-tiny's block (ELAN): four maps of a chain side by side."""
    start = net.last
    first = net.conv(inner)
    net.route(start)
    chain = [first, net.conv(inner)]
    chain += [net.conv(inner, size=3) for _ in range(2)]
    net.route(*chain)
    return net.conv(filters)


def _yolov7_tiny() -> Cfg:
    net, ends = Layers(), []
    net.conv(32, 64, size=3, stride=2)
    for filters in (64, 128, 256, 512):
        if filters > 64:
            net.pool()
        ends.append(_aggregated(net, filters // 2, filters))
    side = net.conv(256)
    net.route(ends[-1])
    net.conv(256)
    net.pyramid_pooling(5, 9, 13)
    net.route(side, net.conv(256))
    coarse = net.conv(256)
    net.upward(128, ends[2], 128)
    middle = _aggregated(net, 64, 128)
    net.upward(64, ends[1], 64)
    fine = _aggregated(net, 32, 64)
    net.downward(128, middle)
    middle = _aggregated(net, 64, 128)
    net.downward(256, coarse)
    coarse = _aggregated(net, 128, 256)
    for level, end in enumerate((fine, middle, coarse)):
        net.route(end)
        net.conv(128 * 2**level, size=3)
        net.yolo(V3_ANCHORS[3 * level : 3 * level + 3], scale=2.0, squared=True)
    return net.cfg(416)


YOLOV3 = yolo_family("yolov3", _yolov3())
YOLOV3_TINY = yolo_family("yolov3_tiny", _yolov3_tiny())
YOLOV4 = yolo_family("yolov4", _yolov4())
YOLOV4_TINY = yolo_family("yolov4_tiny", _yolov4_tiny())
YOLOV7_TINY = yolo_family("yolov7_tiny", _yolov7_tiny())
TINY_YOLO = yolo_family("tiny_yolo", _tiny_yolo(), _tiny_shapes)
"""A small YOLOv4 that a laptop trains: CSP stages, SPP, PAN, three levels with three anchors each."""
