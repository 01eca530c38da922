"""How labels pass through ATen operations that are not elementwise; see `channel_labels`.

An operation without a rule fixes the channels that it touches. To add one is to say which labels its result has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anchorkit.detectors.channel_labels import Known, LabelPass, Operation, Rule, along, touched


def _moved(watch: LabelPass, done: Operation) -> list[Known]:
    """Elements that only change their place: the operation is done to the labels themselves."""
    first, *others = done.bound.items()
    known = watch.of(first[1])
    made = [Known(result, [], known.origin) for result in done.results]
    if done.name == "constant_pad_nd":
        others = [("pad", done.bound["pad"]), ("value", -1)]
    for factor in known.factors:
        labels = factor.expand(known.tensor.shape)  # takes no memory
        if done.name in _VIEWS:
            moved = [labels.reshape(done.results[0].shape)]
        else:
            found = done.func(labels, **dict(others))
            moved = list(found) if isinstance(found, list | tuple) else [found]
        parts = [_squeezed(part) for part in moved]
        if done.name in _VIEWS and parts[0] is not None and not _apart(factor, known.tensor.shape, parts[0], moved[0]):
            watch.fix([factor], f"{done.name}{watch.here}, which mixes channels with cells")
            continue
        if done.name in _PARTING and touched(factor) == (done.bound["dim"] % known.tensor.ndim,):
            parts = _parted(watch, factor, parts, done)
        for each, part in zip(made, parts, strict=True):
            if part is not None and len(touched(part)) > len(touched(factor)):
                # As a shuffle of channels takes them apart: what stands at one place in all parts goes together.
                row = part.narrow(touched(part)[0], 0, 1)
                watch.links.unite(row, part, done.name)
                part = row if row.numel() > 1 else None
            each.factors += [] if part is None else [part]
    return made


def _apart(factor: Tensor, before: torch.Size, part: Tensor, moved: Tensor) -> bool:
    """Whether a view leaves the dimensions behind a factor's as they are, or takes whole ones of them to its own."""
    behind = moved.shape[touched(part)[-1] + 1 :].numel()
    return any(behind == before[dim:].numel() for dim in range(touched(factor)[-1] + 1, len(before) + 1))


def _parted(watch: LabelPass, factor: Tensor, parts: list[Tensor | None], done: Operation) -> list[Tensor | None]:
    """Parts of a map's channels. Equal ones stay equal: what stands at one place in all of them goes together.

    Otherwise where they are parted would have to follow what is cut, and the network's code would not.
    """
    whole = [part for part in parts if part is not None]
    if len(whole) == 1 and whole[0].numel() == factor.numel():
        return parts
    if len(whole) == len(parts) > 1 and len({part.shape for part in whole}) == 1:
        for part in whole[1:]:
            watch.links.unite(whole[0], part, done.name)
        return parts
    watch.fix([factor], f"{done.name}{watch.here}, which takes channels by their numbers")
    return [None] * len(parts)


def _squeezed(labels: Tensor) -> Tensor | None:
    """A factor as small as can be: a dimension along which it does not change has size 1. None if all have."""
    for dim, size in enumerate(labels.shape):
        if size > 1:
            first = labels.narrow(dim, 0, 1)
            if labels.stride(dim) == 0 or bool((labels == first).all()):
                labels = first
    return labels.clone() if labels.numel() > 1 and bool((labels >= 0).any()) else None


def _indexed(watch: LabelPass, done: Operation) -> list[Known]:
    """Rows that are picked by a list, or by numbers that are unknown on the meta device."""
    bound, [result] = done.bound, done.results
    known = watch.of(bound["self"])
    picked = list(bound["indices"]) if "indices" in bound else [None] * bound["dim"] + [bound["index"]]
    dims = [dim for dim, index in enumerate(picked) if index is not None]
    unknown = any(picked[dim].device.type == "meta" or picked[dim].dtype == torch.bool for dim in dims)
    factors = []
    for factor in known.factors:
        if unknown and not set(touched(factor)).isdisjoint(dims):
            watch.fix([factor], f"{done.name}{watch.here} with numbers that are computed")
            continue
        stand_in = [
            index if index is None or not unknown else torch.zeros(index.shape, dtype=torch.long) for index in picked
        ]
        labels = _squeezed(torch.ops.aten.index.Tensor(factor.expand(known.tensor.shape), stand_in))
        if labels is not None and all(size in (1, full) for size, full in zip(labels.shape, result.shape, strict=True)):
            factors.append(labels)
        elif labels is not None:
            watch.fix([factor], f"{done.name}{watch.here} with numbers that are computed")
    return [Known(result, factors, known.origin)]


def _joined(watch: LabelPass, done: Operation) -> list[Known]:
    """Tensors side by side. Along another dimension than their channels' they share labels."""
    tensors, [result] = done.bound["tensors"], done.results
    dim = done.bound["dim"] % result.ndim
    parts = [watch.of(tensor) for tensor in tensors if tensor.numel()]
    if done.name == "stack":
        parts = [
            Known(part.tensor.unsqueeze(dim), [factor.unsqueeze(dim) for factor in part.factors]) for part in parts
        ]
    within = [[factor for factor in part.factors if dim in touched(factor)] for part in parts]
    shared = [Known(result, [factor for factor in part.factors if dim not in touched(factor)]) for part in parts]
    factors = watch.merged(shared, result, done.name)
    if any(within):
        places = {place for own in within for factor in own for place in touched(factor)} | {dim}
        shape = [size if place in places else 1 for place, size in enumerate(result.shape)]
        rows = []
        for part, own in zip(parts, within, strict=True):
            here = [part.tensor.shape[dim] if place == dim else size for place, size in enumerate(shape)]
            watch.fix(own[1:], f"{done.name}{watch.here}, which cannot be followed")
            rows.append(own[0].expand(here) if own else torch.full(here, -1))
        factors.append(torch.cat(rows, dim))
    return [Known(result, factors)]


def _convolved(watch: LabelPass, done: Operation) -> list[Known]:
    bound, [result] = done.bound, done.results
    known, weight = watch.of(bound["input"]), watch.of(bound["weight"])
    groups, transposed = bound.get("groups", 1), bound.get("transposed", False)
    shape = weight.tensor.shape
    rows, columns = (along(weight, dim) for dim in ((1, 0) if transposed else (0, 1)))
    count = result.shape[1], shape[0] if transposed else shape[1]
    channels = along(known, 1)
    mixed = [factor for factor in known.factors if touched(factor) != (1,)]
    watch.fix(mixed, f"{done.name}{watch.here}, whose channels are not the second dimension")
    outputs = rows
    if groups > 1:
        outputs = None if transposed else rows
        if columns is not None:
            watch.fix([columns], "a grouped convolution takes whole groups")
        columns = None
        reason = f"grouped {done.name}{watch.here} of values that belong to no channel"
        if channels is None or outputs is None:
            watch.fix([each for each in (channels, rows) if each is not None], reason)
        else:
            by_group = [labels.reshape(groups, -1) for labels in (channels, outputs)]
            for labels in by_group:
                watch.links.unite(labels[:, :1], labels, reason)
            watch.links.unite(by_group[0][:, 0], by_group[1][:, 0], reason)
    else:
        _contracted(watch, channels, columns, f"{done.name}{watch.here} of values that belong to no channel")
    stride = _stride(known, result)
    kernel = math.prod(shape[2:])
    positions = math.prod((known.tensor if transposed else result).shape[2:]) * result.shape[0]
    number = watch.multiply(
        known,
        weight,
        outputs,
        columns,
        channels,
        counts=count,
        positions=positions,
        kernel=kernel,
        groups=groups,
        stride=stride,
        read=known.tensor.shape[1],
    )
    if bound.get("bias") is not None:
        _united(watch, outputs, along(watch.of(bound["bias"]), 0), done)
    return [_labelled(result, 1, outputs, stride=stride, sources=frozenset([number]))]


def _multiplied(watch: LabelPass, done: Operation) -> list[Known]:
    """Matrix products: (..., n, k) times (..., k, m), and what is added to them."""
    bound, [result] = done.bound, done.results
    left, right = (watch.of(tensor) for tensor in operands(done.name, bound))
    last = result.ndim - 1
    weight, known = (left, right) if left.origin and not right.origin else (right, left)
    rows_at, read_at = (last - 1, last - 1) if weight is left else (last, last)
    columns_at, other_at = (last, last) if weight is left else (last - 1, last - 1)
    rows, columns = along(weight, rows_at), along(weight, columns_at)
    inputs, kept = along(known, read_at), along(known, other_at)
    for each in (left, right):
        mixed = [factor for factor in each.factors if touched(factor) not in ((last,), (last - 1,))]
        watch.fix(mixed, f"{done.name}{watch.here}, which cannot be followed")
    _contracted(watch, inputs, columns, f"{done.name}{watch.here} of values that belong to no channel")
    counts = weight.tensor.shape[rows_at], weight.tensor.shape[columns_at]
    positions = math.prod(known.tensor.shape) // max(1, known.tensor.shape[read_at])
    if rows is not None and "self" in bound and "mat1" in bound:
        bias = along(watch.of(bound["self"]), bound["self"].ndim - 1)
        _united(watch, rows, bias, done)
    number = watch.multiply(
        known,
        weight,
        rows,
        columns,
        inputs,
        counts=counts,
        positions=positions,
        operand=int(weight is left),
        read=known.tensor.shape[read_at],
        product=True,
    )
    made = _labelled(result, rows_at, rows, sources=frozenset([number]))
    if kept is not None:
        made.factors.append(kept.reshape([-1 if dim == other_at else 1 for dim in range(result.ndim)]))
    return [made]


def operands(name: str, bound: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """What an operation multiplies: a convolution's map and weights, or the two matrices of a product."""
    first, second = MULTIPLICATIONS[name]
    return bound[first], bound[second]


def _contracted(watch: LabelPass, inputs: Tensor | None, columns: Tensor | None, reason: str) -> None:
    if inputs is not None and columns is not None:
        watch.links.unite(inputs, columns, reason)
    else:
        watch.fix([each for each in (inputs, columns) if each is not None], reason)


def _united(watch: LabelPass, labels: Tensor | None, others: Tensor | None, done: Operation) -> None:
    _contracted(watch, labels, others, f"{done.name}{watch.here} with values that belong to no channel")


def _labelled(result: Tensor, dim: int, labels: Tensor | None, **known: object) -> Known:
    """A result whose labels depend on one dimension."""
    made = Known(result, [], **known)  # type: ignore[arg-type]
    if labels is not None and len(labels) > 1:
        made.factors.append(labels.reshape([-1 if place == dim else 1 for place in range(result.ndim)]))
    return made


def _stride(known: Known, result: Tensor) -> float:
    """Input pixels per cell of a result, to the next power of two."""
    before, after = known.tensor.shape, result.shape
    ratio = before[-2] / max(1, after[-2]) if len(after) > 3 else before[-1] / max(1, after[-1])
    return (known.stride or 1.0) * 2.0 ** round(math.log2(ratio)) if ratio > 0 else 1.0


def _batch_norm(watch: LabelPass, done: Operation) -> list[Known]:
    bound = done.bound
    known = watch.of(bound["input"])
    channels, made = along(known, 1), []
    watch.fix([factor for factor in known.factors if touched(factor) != (1,)], f"{done.name}{watch.here}")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if bound.get(name) is not None:
            _united(watch, channels, along(watch.of(bound[name]), 0), done)
    if bound.get("weight") is not None:
        watch.norms.add(watch.of(bound["weight"]).origin)
    made.append(_labelled(done.results[0], 1, channels))
    return made


def _group_norm(watch: LabelPass, done: Operation) -> list[Known]:
    """All channels of a norm group go together: so the statistics of the other groups do not change."""
    made = _batch_norm(watch, done)
    channels = along(watch.of(done.bound["input"]), 1)
    if channels is not None:
        by_group = channels.reshape(done.bound["group"], -1)
        watch.links.unite(by_group[:, :1], by_group, f"{done.name}{watch.here}")
    return made


def _layer_norm(watch: LabelPass, done: Operation) -> list[Known]:
    known = watch.of(done.bound["input"])
    dims = len(done.bound["normalized_shape"])
    over = set(range(known.tensor.ndim - dims, known.tensor.ndim))
    mixed = [factor for factor in known.factors if not over.isdisjoint(touched(factor))]
    watch.fix(mixed, f"{done.name}{watch.here}, whose statistics are taken over all channels")
    for name in ("weight", "bias"):
        if done.bound.get(name) is not None:
            watch.fix(watch.of(done.bound[name]).factors, f"{done.name}{watch.here}")
    return [Known(done.results[0], [factor for factor in known.factors if over.isdisjoint(touched(factor))])]


def _spatial(watch: LabelPass, done: Operation) -> list[Known]:
    """Channel by channel: pooling, resizing, RoI align."""
    known = watch.of(next(iter(done.bound.values())))
    dim = known.tensor.ndim - 3 if done.name.endswith("2d") and known.tensor.ndim == 3 else 1
    channels = along(known, dim)
    mixed = [factor for factor in known.factors if touched(factor) != (dim,)]
    watch.fix(mixed, f"{done.name}{watch.here}, which cannot be followed")
    pooled = done.name.startswith("adaptive") or done.name == "roi_align"
    stride = known.stride if pooled else _stride(known, done.results[0])
    larger = "upsample" in done.name and not pooled
    if larger:
        watch.enlarged |= known.sources
    finest = stride if larger else math.inf
    return [_labelled(result, dim, channels, stride=stride, enlarged=finest) for result in done.results[:1]]


def _reduced(watch: LabelPass, done: Operation) -> list[Known]:
    """Sums, means and the like over some dimensions. A channel that is gone adds nothing to a sum or an L2 norm."""
    bound = done.bound
    known = watch.of(bound["self"])
    dims = bound.get("dim")
    dims = range(known.tensor.ndim) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    over = {dim % max(1, known.tensor.ndim) for dim in dims}
    kept = [factor for factor in known.factors if over.isdisjoint(touched(factor))]
    if done.name not in ("sum", "linalg_vector_norm", "norm"):
        lost = [factor for factor in known.factors if not over.isdisjoint(touched(factor))]
        watch.fix(lost, f"{done.name}{watch.here} over channels")
    made = []
    for result in done.results:
        same = result.ndim == known.tensor.ndim
        places = [dim for dim in range(known.tensor.ndim) if same or dim not in over]
        factors = [factor.reshape([factor.shape[dim] for dim in places]) for factor in kept]
        made.append(Known(result, factors))
    return made


def _elementwise(watch: LabelPass, done: Operation) -> list[Known]:
    inputs = [watch.of(value) for value in done.bound.values() if isinstance(value, Tensor)]
    return [Known(result, watch.merged(inputs, result, done.name)) for result in done.results]


def _uniform(watch: LabelPass, done: Operation) -> list[Known]:
    return [Known(result, [], uniform=True) for result in done.results]


MULTIPLICATIONS = {
    "convolution": ("input", "weight"),
    "convolution_overrideable": ("input", "weight"),
    "mm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "bmm": ("self", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}
"""The names of what an operation multiplies."""
_VIEWS = ("view", "unsafe_view", "reshape")
_MOVES = """view unsafe_view reshape reshape_alias unsqueeze squeeze permute transpose t expand slice select narrow
    split split_with_sizes unsafe_split chunk unbind constant_pad_nd alias detach movedim swapaxes repeat"""
_PARTING = frozenset(["slice", "select", "narrow", "split", "split_with_sizes", "unsafe_split", "chunk", "unbind"])
_SPATIAL = """max_pool2d_with_indices max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d
    upsample_nearest_exact2d upsample_bilinear2d upsample_bilinear2d_aa upsample_bicubic2d upsample_bicubic2d_aa
    reflection_pad2d replication_pad2d roi_align grid_sampler_2d max_pool1d_with_indices avg_pool1d
    upsample_nearest1d upsample_linear1d"""
_REDUCED = """sum mean amax amin max min var std var_mean linalg_vector_norm norm prod logsumexp argmax argmin all any
    softmax log_softmax safe_softmax topk sort"""
# Those that torch, in one version or another, does not tag as such.
_ELEMENTWISE = """clone to_copy copy lift_fresh lift_fresh_copy contiguous masked_fill fill zero hardswish hardtanh
    hardsigmoid leaky_relu elu celu gelu silu mish prelu_kernel threshold softplus where"""
RULES: dict[str, Rule] = {
    **dict.fromkeys(_MOVES.split(), _moved),
    **dict.fromkeys(_SPATIAL.split(), _spatial),
    **dict.fromkeys(_REDUCED.split(), _reduced),
    **dict.fromkeys(("index", "index_select"), _indexed),
    **dict.fromkeys(("cat", "stack"), _joined),
    **{name: _convolved if "convolution" in name else _multiplied for name in MULTIPLICATIONS},
    **dict.fromkeys(
        ("native_batch_norm", "native_batch_norm_legit", "native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        _batch_norm,
    ),
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), _uniform),
}
"""How to follow an operation, by the name of its ATen operator without underscores around it."""
