"""The object classes of a file, as users give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anchorkit.datasets import Category
from anchorkit.errors import InputError
from anchorkit.onnx.names import categories_of

ANIMALS = [Category(1, "cat"), Category(2, "dog")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("coco.names", "cat\r\ndog\r\n"),
        ("labels.txt", "\ufeffcat\n\n dog \n"),
        ("data.yaml", "train: images\nval: images\nnames:\n  0: cat\n  1: dog\n"),
        ("list.yaml", "train: images\nval: images\nnc: 2\nnames: [cat, dog]\n"),
        ("metadata.yaml", "names: [cat, dog]\nstride: 32\n"),
        ("truth.json", json.dumps({"categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}]})),
    ],
)
def test_names_in_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert categories_of(str(path)) == ANIMALS


def test_names_as_values() -> None:
    assert categories_of(None) is None
    assert categories_of(["cat", "dog"]) == ANIMALS == categories_of(ANIMALS)
    assert categories_of(2) == [Category(1, "class 0"), Category(2, "class 1")]


@pytest.mark.parametrize("given", [0, True, [], [1, 2], "nowhere.txt"])
def test_what_names_no_classes(given: Any) -> None:
    with pytest.raises(InputError, match="categories"):
        categories_of(given)
