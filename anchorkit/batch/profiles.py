"""What each profile of `anchorkit run` sets in each notebook.

A profile is a plain table: notebook stem -> parameter -> value. Other parameters keep the notebook's default.
`smoke` checks that everything runs, `quick` shows the method in minutes, `full` trains as long as it takes.

The built-in shapes come with a trained detector, so the length of the training in 02_detector matters only for other
data. In `quick` it is a time, three minutes, for any number of images. `full` counts epochs, and goes on from the
detector that `quick` trained in the same folder. A step of 8 images takes about 0.06 s on two free cores: 150 epochs of
300 images are six minutes, of 2,000 images 40. A large data set needs a GPU, or ``-p train_images=2000``.
"""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    # Small enough for a test; the figures mean nothing.
    "smoke": {
        "00_start_here": {"images": 24},
        "01_data": {"train_images": 48, "val_images": 24, "test_images": 24},
        "02_detector": {"steps": 2, "workers": 0},
        "04_search": {"max_drop": 0.005, "random_draws": 20},
        "05_prune_and_retrain": {"points": 1, "finetune_epochs": 1, "finetune_steps": 0, "workers": 0},
        "07_deploy": {"rounds": 3},
        "08_any_onnx": {"images": 24, "draws": 50, "rounds": 3},
        "09_channels": {"channel_images": 8, "images": 24},
        "21_channels_and_anchors": {
            "channel_images": 8,
            "images": 24,
            "channel_ratios": [0.1],
            "max_drop": 0.02,
            "draws": 40,
        },
        "10_baselines": {"max_drop": 0.05, "random_draws": 20},
        "11_better_searches": {"anchors": 6, "draws": 2, "budget": 400, "splits": 2},
        "12_finetune_or_retrain": {
            "shares": [0.5],
            "max_drop": 1.0,
            "seeds": 2,
            "epochs": 1,
            "finetune_epochs": 1,
            "train_images": 8,
        },
        "13_overanchorized": {"input_size": 96, "max_drop": 1.0, "seeds": 2, "epochs": 1, "train_images": 8},
        "14_shared_head": {"input_size": 96, "seeds": 2, "epochs": 1, "train_images": 8},
        "15_backbones": {"budget": 300, "splits": 2},
        "16_voc_metric": {"budget": 300, "splits": 2, "pictures": 1},
        "18_is_it_luck": {"max_drop": 0.005, "draws": 40, "folds": 2},
        "19_same_boxes": {"least_boxes": 5},
        "22_channel_scores": {
            "ratios": [0.5],
            "rivals": ["random"],
            "images": 4,
            "seeds": 1,
            "epochs": 1,
            "train_images": 8,
            "test_images": 8,
            "rounds": 3,
        },
        "23_three_stages": {
            "images": 4,
            "seeds": 1,
            "sparse_epochs": 1,
            "epochs": 1,
            "train_images": 8,
            "test_images": 8,
            "rounds": 3,
        },
    },
    # All images, a short training: useful on shapes, a first impression of other data.
    "quick": {
        "02_detector": {"minutes": 3.0},
        "05_prune_and_retrain": {"finetune_epochs": 2},
        # Nine to twelve trainings of 400 steps, under a minute each. With 200 steps the shapes reach an AP of 3, which
        # is too low for a conclusion; with 400 steps 10 or more.
        "12_finetune_or_retrain": {
            "shares": [0.5, 0.25],
            "recipe": "tiny-short",
            "epochs": 16,
            "finetune_epochs": 2,
            "train_images": 200,
        },
        "13_overanchorized": {"input_size": 128, "recipe": "tiny-short", "epochs": 16, "train_images": 200},
        # A focal loss takes longer to converge.
        "14_shared_head": {"input_size": 128, "recipe": "tiny-short", "epochs": 24, "train_images": 200},
        "18_is_it_luck": {"draws": 500},
        # Thirteen trainings of 124 steps per seed: enough to compare scores, too few for the final accuracy.
        "22_channel_scores": {
            "ratios": [0.2, 0.5, 0.7],
            "recipe": "tiny-short",
            "epochs": 2,
            "train_images": 500,
            "test_images": 250,
            "rounds": 60,
        },
        "23_three_stages": {
            "sparse_epochs": 6,
            "sparsity": 2.0,
            "recipe": "tiny-short",
            "epochs": 2,
            "train_images": 500,
            "test_images": 250,
            "rounds": 60,
        },
    },
    # Retraining takes two fifths of the first training's epochs: enough to see whether it overtakes fine-tuning.
    "full": {
        "02_detector": {"epochs": 150},
        "04_search": {"random_draws": 1000},
        "05_prune_and_retrain": {"finetune_epochs": 6, "retrain_epochs": 60},
    },
}
