"""Dynamic sparse training: it pulls the scales of norms to zero, so that channels can be cut at a small loss.

Chu, Li, Bai, Hu, Chen and Lu 2022 (arXiv 2306.01526), first stage: network slimming (Liu et al. 2017), whose penalty
``s * sum |scale|`` treats all scales alike, with an s that varies. After a share of the training the strongest 35 % of
the scales are spared: they keep a hundredth of s, and the network can recover its accuracy on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anchorkit.detectors import Detector
from anchorkit.detectors.coupling import coupled_channels
from anchorkit.errors import InputError
from anchorkit.training.recipes import Recipe

STRONG_SHARE = 0.35  # of the scales: those that are spared
SPARED_RATE = 0.01  # of s: what remains for them
SMALL = 0.01  # a scale below this carries next to nothing; fresh ones are 1


def prunable_scales(detector: Detector) -> dict[str, nn.Parameter]:
    """The trainable scales of all norms of channels that can be cut, by name; see `anchorkit.coupled_channels`."""
    norms = dict.fromkeys(norm.layer for group in coupled_channels(detector).groups for norm in group.norms)
    scales = {f"{norm}.weight": detector.module.get_submodule(norm).weight for norm in norms}
    return {name: scale for name, scale in scales.items() if isinstance(scale, nn.Parameter) and scale.requires_grad}


class Sparsity:
    """The penalty on the scales during one training.

    SGD gets it as a term of the loss, whose gradient is ``s * sign(scale)``. Through AdamW's normalisation that
    gradient would become a step of the same size for every s. There the penalty is decoupled from the loss, as AdamW's
    weight decay is: after each step a scale shrinks by ``lr * s``, and stops at zero.

    Args:
        detector: its scales are made small.
        plan: the recipe; `Recipe.sparsity` is s.

    Raises:
        InputError: `sparsity` or `sparsity_from` is out of range, or no norm can be trained.
    """

    def __init__(self, detector: Detector, plan: Recipe) -> None:
        if not 0 < plan.sparsity < math.inf:
            raise InputError(f"sparsity is {plan.sparsity}; 0 (none) or a positive number is needed")
        if not 0 <= plan.sparsity_from <= 1:
            raise InputError(f"sparsity_from is {plan.sparsity_from}; a share of the training, 0 to 1, is needed")
        self.plan = plan
        self.scales = prunable_scales(detector)
        if not self.scales:
            raise InputError(
                f"sparsity is {plan.sparsity}, but {detector.name} has no norm to train on channels that can be cut: "
                "use a recipe without sparsity"
            )
        self.penalty = math.nan

    def open(self) -> None:
        """Nothing is needed."""

    def loss(self, images: Sequence[Tensor], share: float) -> Tensor | None:
        """The penalty as a term of the loss, a scalar; None where `after_step` applies it.

        Args:
            images: those of the step; not used.
            share: how much of the training is done, 0..1.
        """
        if self.plan.optimizer == "adamw":
            return None
        rates = self._rates(share)
        terms = [(rate * scale.abs()).sum() for rate, scale in zip(rates, self.scales.values(), strict=True)]
        penalty = torch.stack(terms).sum()
        self.penalty = float(penalty.detach())
        return penalty

    @torch.no_grad()
    def after_step(self, share: float, lr: float) -> None:
        """Shrink the scales, if the penalty is decoupled.

        Args:
            share: how much of the training was done before the step, 0..1.
            lr: the learning rate of the step.
        """
        if self.plan.optimizer != "adamw":
            return
        rates = self._rates(share)
        for scale, rate in zip(self.scales.values(), rates, strict=True):
            scale.copy_(scale.sign() * (scale.abs() - lr * rate).clamp(min=0))
        self.penalty = float(torch.cat(rates) @ torch.cat([scale.abs() for scale in self.scales.values()]))

    def columns(self, kept: nn.Module) -> dict[str, float]:
        """What the history notes at the end of a lap; see `History`.

        Args:
            kept: the module whose weights would be kept: the running mean, if the recipe has one.
        """
        sizes = torch.cat([kept.get_parameter(name).detach() for name in self.scales]).abs()
        return {"penalty": self.penalty, "small_scales": float((sizes < SMALL).float().mean())}

    def close(self) -> None:
        """Nothing is left to undo."""

    def _rates(self, share: float) -> list[Tensor]:
        """The s of each scale, one tensor per norm."""
        sizes = torch.cat([scale.detach() for scale in self.scales.values()]).abs()
        rates = torch.full_like(sizes, self.plan.sparsity)
        if share >= self.plan.sparsity_from:
            weak = len(sizes) - math.floor(STRONG_SHARE * len(sizes))
            rates[sizes > sizes.kthvalue(weak).values] *= SPARED_RATE
        return list(torch.split(rates, [len(scale) for scale in self.scales.values()]))
