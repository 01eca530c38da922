"""The layers of darknet's networks, one class per kind of section of a ``.cfg`` file that the kit computes.

Layers count from 0. References to other layers are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

Settings = tuple[tuple[str, str], ...]
ACTIVATIONS = ("linear", "leaky", "mish", "swish", "logistic", "relu", "relu6", "tanh", "elu")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A layer.

    Attributes:
        line: of the file it was read from; 0 for none.
        other: settings that do not change what the layer computes, such as those of training, as they are written.
    """

    kind: ClassVar[str]
    line: int = field(default=0, compare=False)
    other: Settings = ()


@dataclass(frozen=True)
class Convolution(Section):
    """A convolution; `padding` is in pixels on each side, times `dilation`; `normalized`: it has batch norm."""

    kind = "convolutional"
    filters: int
    size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    dilation: int = 1
    normalized: bool = True
    activation: str = "leaky"


@dataclass(frozen=True)
class MaxPool(Section):
    """The largest value of each window; `padding` is the sum of both sides, the larger half of it right and below."""

    kind = "maxpool"
    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class AveragePool(Section):
    """The mean of each channel."""

    kind = "avgpool"


@dataclass(frozen=True)
class Upsample(Section):
    """Each cell repeated `stride` times in both directions."""

    kind = "upsample"
    stride: int


@dataclass(frozen=True)
class SpaceToDepth(Section):
    """Blocks of `stride` x `stride` cells as one cell with their channels one after the other."""

    kind = "reorg3d"
    stride: int


@dataclass(frozen=True)
class Reorganize(Section):
    """YOLOv2's `SpaceToDepth`, which reads the map as one of `stride` times the sides and fewer channels.

    darknet's code does so, and published weights were trained with it.
    """

    kind = "reorg"
    stride: int


@dataclass(frozen=True)
class Dropout(Section):
    """Nothing, once a network is trained; a training of the kit's leaves it out too."""

    kind = "dropout"


@dataclass(frozen=True)
class Route(Section):
    """The maps of some layers side by side; of each, the part `part` of `groups` equal parts of its channels."""

    kind = "route"
    sources: tuple[int, ...]
    groups: int = 1
    part: int = 0


@dataclass(frozen=True)
class Shortcut(Section):
    """The sum of the map before and that of layer `source`."""

    kind = "shortcut"
    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class Attention(Section):
    """The product, element by element, of the map before and that of layer `source`."""

    kind = "sam"
    source: int


@dataclass(frozen=True)
class ScaleChannels(Section):
    """The map of layer `source`, each channel times the one number that the map before has for it."""

    kind = "scale_channels"
    source: int


@dataclass(frozen=True)
class Yolo(Section):
    """Decodes the map before into boxes.

    Attributes:
        anchors: (width, height) in pixels of the input.
        classes: number of object classes.
        scale: a centre lies at ``sigmoid(t) * scale - (scale - 1) / 2`` cells (``scale_x_y``).
        squared: a side is ``(2 sigmoid(t))^2`` times the anchor's (``new_coords``), else ``exp(t)`` times.
    """

    kind = "yolo"
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale: float = 1.0
    squared: bool = False


@dataclass(frozen=True)
class Region(Yolo):
    """YOLOv2's way: anchors are in cells of the map, and classes exclude each other (softmax)."""

    kind = "region"


@dataclass(frozen=True)
class Cfg:
    """A network.

    Attributes:
        height: of the input in pixels.
        width: of the input in pixels.
        sections: the layers.
        net: the other settings of ``[net]``, as they are written.
    """

    height: int
    width: int
    sections: tuple[Section, ...]
    net: Settings = ()
