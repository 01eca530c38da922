"""Which elements of a network's tensors belong to which channel, operation by operation.

Every index of every dimension of every weight is a *label*. While a network runs on the meta device, `LabelPass` sees
each ATen operation and passes labels on: a convolution's output carries the labels of its filters, a sum unites the
labels of what it adds. What it cannot follow it fixes, with the reason. Nothing is computed, and nothing of the
network's Python has to be understood.

A tensor's labels are a list of *factors*: integer tensors with as many dimensions as it has, of size 1 where they do
not depend on a dimension. A map (N, C, h, w) has one factor, (1, C, 1, 1); a filter bank one for each of its first two
dimensions. -1 is no label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Factors = list[Tensor]
NOTHING = np.empty(0, np.int64)
OUTPUT = "makes the output of the detector"


@dataclass(frozen=True, eq=False)
class Call:
    """One multiplication with weights: a convolution or a matrix product.

    Attributes:
        weight: name of the weights' tensor; empty where they are computed.
        where: path of the module that runs.
        rows: label of each output channel; -1 for none.
        columns: label of each input channel in the weights; -1 where they are not cut (grouped convolutions).
        inputs: label of each input channel in the map that is read.
        factor: multiply-adds of one image per row and column.
        positions: cells, or rows of a matrix, for which it is done.
        groups: of a convolution.
        map: number of the map that is read; the same for the same tensor.
        operand: which of the two things that are multiplied is the map.
        product: a matrix product, not a convolution.
        read: channels of the map.
        stride: input pixels per cell of the output.
        enlarged: stride of the finest enlarged map that the input comes from, as in the top-down path of a pyramid;
            infinite for none.
    """

    weight: str
    where: str
    rows: np.ndarray
    columns: np.ndarray
    inputs: np.ndarray
    factor: int
    positions: int
    groups: int
    map: int
    operand: int
    product: bool
    read: int
    stride: float
    enlarged: float


class Links:
    """Which labels go together, and which cannot go."""

    def __init__(self) -> None:
        self.count = 0
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self.fixed: list[tuple[np.ndarray, str]] = []

    def fresh(self, count: int) -> Tensor:
        """So many new labels."""
        self.count += count
        return torch.arange(self.count - count, self.count)

    def unite(self, one: Tensor, other: Tensor, reason: str) -> None:
        """Labels that go together, pair by pair; a label without a partner is fixed."""
        a, b = (labels.reshape(-1).numpy() for labels in torch.broadcast_tensors(one, other))  # type: ignore[no-untyped-call]
        both = (a >= 0) & (b >= 0)
        self.pairs.append((a[both], b[both]))
        self.fix(np.concatenate([a[~both], b[~both]]), reason)

    def fix(self, labels: Tensor | np.ndarray, reason: str) -> None:
        """Labels that cannot go."""
        flat = np.unique(np.asarray(labels))
        flat = flat[flat >= 0]
        if len(flat):
            self.fixed.append((flat, reason))

    def components(self) -> tuple[np.ndarray, dict[int, str]]:
        """The number of each label's set of united labels, and why those that cannot go cannot."""
        pairs = [np.concatenate(side) if side else NOTHING for side in zip(*self.pairs, strict=True)] or [NOTHING] * 2
        graph = coo_matrix((np.ones(len(pairs[0]), bool), tuple(pairs)), shape=(self.count, self.count))
        _, of_label = connected_components(graph, directed=False)
        reasons: dict[int, str] = {}
        for labels, reason in self.fixed:
            for component in np.unique(of_label[labels]).tolist():
                reasons.setdefault(component, reason)
        return of_label.astype(np.int64), reasons


@dataclass
class Known:
    """What the pass knows of a tensor.

    Attributes:
        tensor: itself; it is kept, so that its id stays its own.
        factors: its labels.
        origin: name of the weights that it is, or is made of; empty for maps.
        stride: input pixels per cell of a map; None for that of what it is made of.
        enlarged: stride of the finest map that was enlarged among what it is made of; infinite for none.
        uniform: whether all its elements are the same.
        sources: numbers of the calls that made it, without those behind other calls.
    """

    tensor: Tensor
    factors: Factors
    origin: str = ""
    stride: float | None = None
    enlarged: float = math.inf
    uniform: bool = False
    sources: frozenset[int] = frozenset()


class LabelPass(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches one pass of a network on the meta device.

    Args:
        network: on the meta device, in evaluation mode.
        names: the name of each of its parameters and buffers that belong to the detector, by id.
        rules: how to follow an operation, by the name of its ATen operator; see `channel_rules`.

    Attributes:
        places: labels of each dimension of each named tensor, by (name, dimension).
        calls: the multiplications with weights, in order of execution.
        links: which labels go together.
        norms: names of the scales of normalisations.
        enlarged: numbers of the calls whose map is enlarged before another call reads it.
        last: numbers of the calls whose map reaches the network's outputs with no other call in between.
    """

    def __init__(self, network: nn.Module, names: Mapping[int, str], rules: Mapping[str, Rule]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.links = Links()
        self.calls: list[Call] = []
        self.places: dict[tuple[str, int], np.ndarray] = {}
        self.norms: set[str] = set()
        self.enlarged: set[int] = set()
        self.last: set[int] = set()
        self._network, self._rules = network, rules
        self._known: dict[int, Known] = {}
        self._where = [""]
        for tensor in [*network.parameters(), *network.buffers()]:
            if id(tensor) in names and id(tensor) not in self._known:
                name = names[id(tensor)]
                self._known[id(tensor)] = Known(tensor, self._fresh(tensor, name), name)

    def _fresh(self, tensor: Tensor, name: str) -> Factors:
        factors = []
        for dim, size in enumerate(tensor.shape):
            labels = self.links.fresh(size)
            self.places[name, dim] = labels.numpy()
            if size > 1:
                factors.append(labels.reshape([-1 if d == dim else 1 for d in range(tensor.ndim)]))
        return factors

    def run(self, images: Tensor) -> None:
        """Run the network; what it gives cannot be cut."""
        with torch.inference_mode(False), self._paths(), torch.no_grad(), self:
            outputs = self._network(images)
        for tensor in tensors_in(outputs):
            self.last |= self.of(tensor).sources
            self.fix(self.of(tensor).factors, OUTPUT)

    @contextmanager
    def _paths(self) -> Iterator[None]:
        """While it runs, the path of the module that runs is known."""
        handles: list[Any] = []

        def leave(*call: object) -> None:
            self._where.pop()

        for path, module in self._network.named_modules():

            def enter(*call: object, path: str = path) -> None:
                self._where.append(path)

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and give its results labels."""
        outputs = func(*args, **(kwargs or {}))
        bound = arguments_of(func, args, kwargs or {})
        results, inputs = tensors_in(outputs), [self.of(tensor) for tensor in tensors_in(list(bound.values()))]
        name = func.overloadpacket.__name__.strip("_")
        rule = self._rules.get(name)
        if rule is not None:
            made = rule(self, Operation(name, func, bound, results))
        elif torch.Tag.pointwise in func.tags:
            made = [Known(result, self.merged(inputs, result, name)) for result in results]
        else:
            for known in inputs:
                self.fix(known.factors, f"{name}{self.here}, which cannot be followed")
            made = [Known(result, []) for result in results]
        for known in made:
            if known.stride is None:
                known.stride = max((each.stride or 1.0 for each in inputs), default=1.0)
            maps = [each for each in inputs if not each.origin]
            known.enlarged = min(known.enlarged, *(each.enlarged for each in maps), math.inf)
            known.sources = known.sources or frozenset().union(*(each.sources for each in maps))
            if not known.origin:
                shape = known.tensor.shape
                known.origin = next((each.origin for each in inputs if each.origin and each.tensor.shape == shape), "")
            self._known[id(known.tensor)] = known
        return outputs

    def of(self, tensor: Tensor) -> Known:
        """What is known of a tensor."""
        return self._known.setdefault(id(tensor), Known(tensor, []))

    def fix(self, factors: Factors, reason: str) -> None:
        """Labels that cannot go, and why."""
        for factor in factors:
            self.links.fix(factor, reason)

    @property
    def here(self) -> str:
        """A clause that names the module that runs."""
        path = self._where[-1].removeprefix("module").removeprefix(".")
        return f" in {path}" if path else ""

    def merged(self, inputs: Sequence[Known], result: Tensor, name: str) -> Factors:
        """Factors of a result, each element of which is made of the inputs' elements at its place."""
        reason = f"{name}{self.here} with values that belong to no channel"
        taking = [known for known in inputs if not known.uniform]
        # Dimensions in which an input's elements may differ: an expanded one has no step there.
        spans = [
            [1] * (result.ndim - known.tensor.ndim)
            + [size if step else 1 for size, step in zip(known.tensor.shape, known.tensor.stride(), strict=True)]
            for known in taking
        ]
        aligned = [
            [factor.reshape([1] * (result.ndim - factor.ndim) + list(factor.shape)) for factor in known.factors]
            for known in taking
        ]
        merged: dict[tuple[int, ...], Tensor] = {}
        lost: set[tuple[int, ...]] = set()
        for number, factors in enumerate(aligned):
            for factor in factors:
                at = touched(factor)
                for other, span in enumerate(spans):
                    has = any(touched(each) == at for each in aligned[other])
                    if other != number and not has and any(span[dim] > 1 for dim in at):
                        self.links.fix(factor, reason)
                        lost.add(at)
                if at in merged:
                    self.links.unite(merged[at], factor, reason)
                else:
                    merged[at] = factor
        return [factor for at, factor in merged.items() if at not in lost]

    def multiply(
        self,
        known: Known,
        weight: Known,
        rows: Tensor | None,
        columns: Tensor | None,
        inputs: Tensor | None,
        *,
        counts: tuple[int, int],
        positions: int,
        kernel: int = 1,
        groups: int = 1,
        stride: float | None = None,
        operand: int = 0,
        read: int,
        product: bool = False,
    ) -> int:
        """Note a call; its number. Each of `rows`, `columns` and `inputs` is None where there are no labels."""
        labels = [
            np.full(count, -1) if each is None else each.reshape(-1).numpy()
            for each, count in ((rows, counts[0]), (columns, counts[1]))
        ]
        labels_read = NOTHING if inputs is None else inputs.reshape(-1).numpy()
        stride = stride or known.stride or 1.0
        self.calls.append(
            Call(
                weight=weight.origin,
                where=self.here[4:],
                rows=labels[0],
                columns=labels[1],
                inputs=labels_read,
                factor=positions * kernel,
                positions=positions,
                groups=groups,
                map=id(known.tensor),
                operand=operand,
                product=product,
                read=read,
                stride=stride,
                enlarged=known.enlarged,
            )
        )
        return len(self.calls) - 1


@dataclass(frozen=True, eq=False)
class Operation:
    """An ATen operation that ran: its name, the operator, its arguments by name, and the tensors it gave."""

    name: str
    func: Any
    bound: dict[str, Any]
    results: list[Tensor]


Rule = Callable[[LabelPass, Operation], list[Known]]
"""What is known of an operation's results."""


def arguments_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation by name, defaults included."""
    names = [argument.name for argument in func._schema.arguments]
    found = {argument.name: argument.default_value for argument in func._schema.arguments}
    return {**found, **dict(zip(names, args, strict=False)), **kwargs}


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        values = list(values.values())
    return [tensor for value in values for tensor in tensors_in(value)] if isinstance(values, list | tuple) else []


def touched(factor: Tensor) -> tuple[int, ...]:
    """Dimensions on which a factor depends."""
    return tuple(dim for dim, size in enumerate(factor.shape) if size > 1)


def along(known: Known, dim: int) -> Tensor | None:
    """The factor that depends on one dimension alone, as one row."""
    found = [factor for factor in known.factors if touched(factor) == (dim,)]
    return found[0].reshape(-1) if found else None
