from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from anchorkit.errors import InputError
from anchorkit.runs.provenance import commit, content_hash, packages, provenance, result_hashes


def test_a_file_is_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    first = content_hash(path)
    assert first == hashlib.sha256(b"abc").hexdigest()
    os.utime(path, (0, 0))
    assert content_hash(path) == first
    with pytest.raises(InputError, match="no such file or folder"):
        content_hash(tmp_path / "none")


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"12345")
    (tmp_path / "objects.json").write_text("[]")
    first = content_hash(tmp_path)
    (tmp_path / ".hidden").touch()
    (tmp_path / "images" / "1.jpg").write_bytes(b"54321")  # a picture counts by its size
    os.utime(tmp_path / "objects.json", (4e9, 4e9))
    assert content_hash(tmp_path) == first
    changes = {
        "objects.json": lambda path: path.write_text("[1]"),
        "images/1.jpg": lambda path: path.write_bytes(b"123456"),
        "images/2.jpg": lambda path: path.touch(),
    }
    seen = {first}
    for name, change in changes.items():
        change(tmp_path / name)
        seen.add(content_hash(tmp_path))
    assert len(seen) == 1 + len(changes)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.txt")).touch()
    except OSError:
        pytest.skip("this file system takes only names that are text")
    assert len(content_hash(tmp_path)) == 64


def test_a_run_is_named_by_data_weights_predictions_seeds_versions_machine(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    data.mkdir()
    (data / "objects.json").write_text("{}")
    run = tmp_path / "run"
    for name in ("detector/model.safetensors", "predictions.parquet", "retrained/A-pruned/model.safetensors", "x.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    facts = {"data": str(data), "data_root": "", "images": {"train": 0}, "fingerprint": "abc"}
    (run / "data.json").write_text(json.dumps(facts))
    (run / "run.json").write_text(json.dumps({"format": 1, "notebooks": {"04_search": {"parameters": {"seed": 7}}}}))
    found = provenance(run)
    assert json.loads(json.dumps(found)) == found
    assert found["data"]["fingerprint"] == "abc"
    assert found["data"]["content"] == content_hash(data)
    assert list(found["files"]) == [
        "detector/model.safetensors",
        "predictions.parquet",
        "retrained/A-pruned/model.safetensors",
    ]
    assert found["files"]["predictions.parquet"] == hashlib.sha256(b"predictions.parquet").hexdigest()
    assert found["seeds"] == {"04_search": 7}
    assert found["packages"]["numpy"]
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory"] > 1e8


def test_an_empty_folder_has_little_to_say(tmp_path: Path) -> None:
    found = provenance(tmp_path, tmp_path)
    assert (found["data"], found["files"], found["seeds"], found["commit"]) == (None, {}, {}, None)
    assert result_hashes(tmp_path) == {}


def test_the_commit_and_whether_something_was_changed(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        (tmp_path / "notebook").write_text("1")
        subprocess.run([*git, *arguments], check=True)
    first = commit(tmp_path)
    assert first is not None
    assert (len(first["hash"]), first["changed"]) == (40, False)
    (tmp_path / "notebook").write_text("2")
    commit.cache_clear()
    assert commit(tmp_path) == {**first, "changed": True}


def test_every_package_that_is_needed_is_recorded() -> None:
    assert {"numpy", "torch", "pandas", "papermill", "anchorkit"} <= {name.lower() for name in packages()}


def test_the_content_of_a_data_yaml_is_that_of_its_folders_too(tmp_path: Path) -> None:
    from anchorkit.runs.provenance import place_hash

    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "lists").mkdir(parents=True)
    (elsewhere / "labels").mkdir(parents=True)
    (elsewhere / "labels" / "1.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    description = home / "data.yaml"
    description.write_text("path: ../elsewhere\ntrain: images\nval: images\nnames: [cat]\n")
    before = place_hash(description)
    assert place_hash(description) == before
    (elsewhere / "labels" / "1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    mended = place_hash(description)
    assert mended != before
    description.write_text("path: ../elsewhere\ntrain: images\nval: images\nnames: [dog]\n")
    assert place_hash(description) != mended


def test_the_working_folder_does_not_count_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anchorkit.runs.provenance import place_hash

    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    description = home / "data.yaml"
    description.write_text("path: .\ntrain: images\nval: images\nnames: [cat]\n")
    monkeypatch.chdir(work)
    before = place_hash(description)
    (work / "notes.txt").write_text("of something else")
    assert place_hash(description) == before
