"""The loss of a training, here of a very short one, and below it the accuracy on validation images."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=16, val=4, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")

history = ak.fit(detector, data, epochs=4, batch_size=4, validate_every=2, progress=False)
chart = ak.plots.training_curve(history.frame)
