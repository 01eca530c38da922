"""What a user says about an ONNX file: read in the user's words, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from anchorkit.errors import InputError
from anchorkit.runs.onnx_file import lesson_facts, parse_facts, with_absolute_paths


def test_values_have_the_types_that_load_onnx_takes() -> None:
    texts = [
        "preset=ultralytics",
        "mean=123.7,116.3,103.5",
        "scale=255",
        "antialias=no",
        "input_size=320x416",
        "outputs=boxes, scores",
        "anchors_per_cell=3;2",
        "shapes=10x13,16x30;59x119.5",
        "categories=coco.names",
        "nms_iou=0.6",
        "topk=400",
    ]
    assert parse_facts(texts) == {
        "preset": "ultralytics",
        "mean": (123.7, 116.3, 103.5),
        "scale": 255.0,
        "antialias": False,
        "input_size": (320, 416),
        "outputs": ["boxes", "scores"],
        "anchors_per_cell": [3, 2],
        "shapes": [[(10.0, 13.0), (16.0, 30.0)], [(59.0, 119.5)]],
        "categories": "coco.names",
        "nms_iou": 0.6,
        "topk": 400,
    }
    assert parse_facts(["categories=80", "anchors_per_cell=3"]) == {"categories": 80, "anchors_per_cell": 3}
    assert parse_facts(None) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ultralytics", "NAME=VALUE is needed, such as preset=ultralytics"),
        ("presset=ssd", "unknown name 'presset'; did you mean preset"),
        ("mean=1,2", "a number or three"),
        ("mean=grey", "a number or three"),
        ("antialias=perhaps", "true or false is needed"),
        ("input_size=320", "HEIGHTxWIDTH"),
        ("shapes=10,13", "WIDTHxHEIGHT"),
        ("topk=many", "a number is needed"),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_users_words(text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"-p " + text.split(",")[0]) as refused:
        parse_facts([text])
    assert said in str(refused.value)


def test_a_lesson_finds_the_names_of_classes_in_its_own_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coco.names").write_text("person\nbicycle\n")
    monkeypatch.chdir(tmp_path)
    texts = ["categories=coco.names", "nms_iou=0.6", "categories=80"]
    assert with_absolute_paths(texts) == [f"categories={tmp_path.resolve() / 'coco.names'}", *texts[1:]]


def test_a_lesson_passes_on_what_it_was_given_and_nothing_else() -> None:
    """Its other parameters may have names that load_onnx knows too, with another meaning."""
    given = {"input_size": 0, "preset": "", "color": "BGR", "mean": [0.0], "scale": [1.0, 2.0, 3.0], "seed": 3}
    assert lesson_facts(given | {"onnx_facts": ["max_detections=300"]}) == {
        "color": "BGR",
        "mean": 0.0,
        "scale": [1.0, 2.0, 3.0],
        "max_detections": 300,
    }
