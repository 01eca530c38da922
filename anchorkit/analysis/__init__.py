"""What the detections say, in numpy: redundancy of anchors, diagnosis of mistakes, matching, clustering of shapes."""
