"""What `load_dataset` recognises, and what it says when it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anchorkit.datasets import NAMES, load_dataset
from anchorkit.errors import InputError

from .samples import coco_dict, put_json, put_text


def test_a_name_that_is_nothing_lists_the_names(tmp_path: Path):
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path / "nowhere")
    assert all(name in str(caught.value) for name in NAMES)
    assert "nowhere" in str(caught.value)


@pytest.mark.parametrize("content", [None, "notes.txt", "settings.json", "layout.xml", "train/readme.md"])
def test_a_folder_without_annotations_says_what_was_looked_for(tmp_path: Path, content: str | None):
    if content:
        put_text(tmp_path / content, '{"epochs": 3}')
    with pytest.raises(InputError, match="instances_train.json") as caught:
        load_dataset(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "Annotations/*.xml" in str(caught.value)


def test_a_file_is_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match="is a file, not a folder"):
        load_dataset(put_json(tmp_path / "a.json", coco_dict()))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "shapes"])
def test_named_sets_need_a_root(name: str, tmp_path: Path):
    with pytest.raises(InputError, match="root"):
        load_dataset(name)
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(name, root=tmp_path / "nowhere")


def test_only_shapes_takes_options(tmp_path: Path):
    for name, root in (("coco", tmp_path), (tmp_path, None)):
        with pytest.raises(InputError, match="unknown option 'size'"):
            load_dataset(name, root=root, size=3)
    with pytest.raises(InputError, match="takes no root"):
        load_dataset("shapes", root=tmp_path)


@pytest.mark.filterwarnings("ignore:.*have no box in any split", "ignore:.*images are not found")
def test_a_folder_may_be_named_below_a_root(tmp_path: Path):
    for word in ("train", "val"):
        put_json(tmp_path / "mine" / f"{word}.json", coco_dict())
    assert load_dataset("mine", root=tmp_path).name == "mine"
    assert load_dataset(str(tmp_path / "mine")).fingerprint() == load_dataset(tmp_path / "mine").fingerprint()


def test_loading_imports_no_torch():
    code = "import sys, anchorkit.datasets; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
