"""Training: one readable loop, recipes as data, augmentation, sparsity, distilling."""

from anchorkit.training.loop import History, fit
from anchorkit.training.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "History", "Recipe", "fit"]
