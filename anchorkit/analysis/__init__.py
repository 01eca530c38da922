"""What the detections say, in numpy: redundancy of anchors, diagnosis of mistakes, matching, clustering of shapes."""

from anchorkit import modules_on_first_use

__all__ = ["diagnosis", "kmeans_anchors", "per_image", "redundancy", "takeovers"]

__getattr__ = modules_on_first_use(__name__)
