"""Slow, plain evaluation with pycocotools and numpy, for checking the fast one. Imports nothing of the loops."""
