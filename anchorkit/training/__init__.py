"""Training: one readable loop, recipes as data, augmentation, sparsity, distilling."""

from anchorkit.training.loop import fit
from anchorkit.training.recipes import RECIPES, Recipe
from anchorkit.training.state import History

__all__ = ["RECIPES", "History", "Recipe", "fit"]
