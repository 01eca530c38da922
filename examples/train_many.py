"""Train a detector on several GPUs or machines, to continue with the lessons.

    accelerate launch --num_processes 4 examples/train_many.py --data my/folder --out trained
    anchorkit run --data my/folder -p weights=trained/detector

`accelerate config` asks for the rest (machines, their addresses, mixed precision). If you start the script again, it
resumes after the last finished epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from accelerate import PartialState

import anchorkit as ak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="shapes", help="a data set's name, or a folder")
    parser.add_argument("--detector", default="tiny_ssd")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, help="the batch size of all processes together")
    parser.add_argument("--images", type=int, default=0, help="use at most N training images; 0 for all")
    parser.add_argument("--out", type=Path, required=True, help="the folder for checkpoints and the detector")
    options = parser.parse_args()

    data = ak.load_dataset(options.data)
    if options.images:
        data = data.limited(train=options.images)
    detector = ak.load_detector(options.detector, categories=data.categories)
    history = ak.fit(
        detector,
        data,
        options.recipe,
        epochs=options.epochs,
        batch_size=options.batch_size,
        out=options.out / "training",
    )
    if PartialState().is_main_process:
        ak.save_detector(detector, options.out / "detector")
        print(history.frame.to_string(index=False))


if __name__ == "__main__":
    main()
