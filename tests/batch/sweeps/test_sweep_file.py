from __future__ import annotations

import sys
from pathlib import Path

import pytest

from anchorkit.batch.sweeps.plan import make_plan
from anchorkit.batch.sweeps.sweep_file import read_sweep
from anchorkit.errors import InputError


def test_grid_and_list_multiply_and_base_is_common(workshop) -> None:
    path = workshop.file(base={"seed": 3}, list=[{"size": 1}, {"size": 2, "seed": 4}], grid={"factor": [1, 2.5]})
    found = read_sweep(path)
    assert found.name == "sweep"
    assert found.varied == ("size", "seed", "factor")
    assert [list(given.values()) for given in found.given] == [[3, 1, 1.0], [3, 1, 2.5], [4, 2, 1.0], [4, 2, 2.5]]
    place = {"run_dir": "runs/x"}  # set when it is executed
    assert found.values[3] == {
        "a_make": {**place, "size": 2, "seed": 4},
        "b_multiply": {**place, "factor": 2.5, "seed": 4},
    }
    assert isinstance(found.values[0]["b_multiply"]["factor"], float)


def test_a_notebook_may_get_a_value_of_its_own(workshop) -> None:
    found = read_sweep(workshop.file(base={"seed": 1}, grid={"b_multiply.seed": [5, 6]}))
    assert [values["a_make"]["seed"] for values in found.values] == [1, 1]
    assert [values["b_multiply"]["seed"] for values in found.values] == [5, 6]


def test_all_that_is_wrong_is_told_at_once(workshop) -> None:
    path = workshop.file(
        grids={},
        profile="quik",
        base={"sed": 1, "size": "two", "run_dir": "x", "c_none.seed": 1},
        grid={"factor": [1, "x"], "seed": 5},
        list=[{"size": True}, {"b_multiply.size": 2}],
        on_finished="nowhere:function",
    )
    with pytest.raises(InputError) as caught:
        read_sweep(path)
    message = str(caught.value)
    assert message.startswith(f"{path.resolve()}: ")
    for complaint in (
        "unknown key 'grids', did you mean grid?",
        "unknown profile 'quik'; did you mean quick?",
        "base: unknown parameter 'sed'; did you mean seed?",
        "base: size is 'two'; int is needed (how much)",
        "base: run_dir: every run gets a folder of its own",
        "base: c_none.seed: no notebook 'c_none' here",
        "grid: factor is 'x'; float is needed",
        "grid: seed: a list of values is needed",
        "list, entry 1: size is True; int is needed",
        "list, entry 2: unknown parameter 'size'; known: factor, seed",
        "on_finished: nowhere:function cannot be imported",
    ):
        assert complaint in message, complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("notebooks: [a_make.ipynb\n", "line 2: "),
        ("- 1\n", "a mapping is needed"),
        ("grid: {size: [1]}\ngrid: {size: [2]}\n", "grid is given twice"),
        ("notebooks: [a_make.ipynb, a_make.ipynb]\n", "a_make is named twice"),
        ("notebooks: [c_none.ipynb]\n", "c_none.ipynb: no such notebook"),
        ("notebooks: [04_serch]\n", "did you mean 04_search?"),
        ("notebooks: [a_make.ipynb]\nlist: 3\n", "list: entries are needed"),
        ("notebooks: [a_make.ipynb]\nlist: [{size: 1}]\ngrid: {size: [1]}\n", "size is in list and in grid"),
        ("notebooks: [a_make.ipynb]\ngrid: {size: [2, 2]}\n", "runs 1 and 2 are the same (size=2)"),
        ("notebooks: [a_make.ipynb]\nname: a/b\n", "name 'a/b': a folder's name is needed"),
        ("notebooks: [a_make.ipynb]\non_finished: x\n", "package.module:function is needed"),
    ],
)
def test_broken_files(workshop, text: str, complaint: str) -> None:
    path = workshop.folder / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_sweep(path)
    assert complaint in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_sweep(tmp_path / "none.yaml")


def test_yaml_reads_words_as_truth_values(workshop) -> None:
    workshop.notebook("a_make", 'run_dir: str = "x"  # f\nprecision: str = "auto"  # p\nrate: float = 0.1  # r', [])
    with pytest.raises(InputError, match="put them in quotes"):
        read_sweep(workshop.file(notebooks=["a_make.ipynb"], base={"precision": False}))
    # 1e-3 without a point is text to YAML.
    path = workshop.folder / "rate.yaml"
    path.write_text("notebooks: [a_make.ipynb]\nbase: {rate: 1e-3}\n")
    assert read_sweep(path).values[0]["a_make"]["rate"] == 0.001


PLACES = 'run_dir: str = "x"  # f\ndata: str = "shapes"  # d\nanchors: str = ""  # a\nweights: str = "auto"  # w'


def test_paths_are_meant_from_the_sweep_file_and_must_exist(workshop, monkeypatch, tmp_path) -> None:
    workshop.notebook("a_make", PLACES, [])
    (workshop.folder / "my data").mkdir()
    monkeypatch.chdir(tmp_path)
    one = workshop.file(notebooks=["a_make.ipynb"], grid={"data": ["shapes", "my data"]}, base={"anchors": "L0/1x2"})
    found = read_sweep(one)
    assert [values["a_make"]["data"] for values in found.values] == ["shapes", str(workshop.folder / "my data")]
    assert found.values[0]["a_make"]["anchors"] == "L0/1x2"  # no place
    with pytest.raises(InputError, match="data: .*nowhere: no such file.*weights: .*w.pth: no such file"):
        read_sweep(workshop.file(notebooks=["a_make.ipynb"], base={"data": "./nowhere", "weights": "w.pth"}))


def test_a_detector_may_be_a_file_beside_the_sweep_file(workshop, monkeypatch, tmp_path) -> None:
    facts = 'run_dir: str = "x"  # f\ndetector: str = "tiny_ssd"  # d\nonnx_facts: list[str] = []  # o'
    workshop.notebook("a_make", facts, [])
    for name in ("yolo.onnx", "coco.names"):
        (workshop.folder / name).touch()
    monkeypatch.chdir(tmp_path)
    base = {"onnx_facts": ["categories=coco.names", "nms_iou=0.5"]}
    found = read_sweep(
        workshop.file(notebooks=["a_make.ipynb"], base=base, grid={"detector": ["tiny_ssd", "yolo.onnx"]})
    )
    assert [one["a_make"]["detector"] for one in found.values] == ["tiny_ssd", str(workshop.folder / "yolo.onnx")]
    names = f"categories={workshop.folder / 'coco.names'}"
    assert found.values[0]["a_make"]["onnx_facts"] == [names, "nms_iou=0.5"]
    with pytest.raises(InputError, match=r"detector: .*none\.onnx: no such file"):
        read_sweep(workshop.file(notebooks=["a_make.ipynb"], base={"detector": "none.onnx"}))


def test_the_lessons_are_those_that_have_a_run_folder() -> None:
    sweep = Path(__file__).parent / "lessons.yaml"
    found = read_sweep(sweep)
    assert [path.stem[:2] for path in found.notebooks] == ["01", "02", "03", "04", "05", "06", "07"]
    assert found.values[0]["01_data"]["train_images"] == 48  # the profile
    assert found.values[1]["04_search"]["cost"] == "boxes"
    plan = make_plan(found)
    assert len(plan.steps) == 3 + 2 * 4  # 01 to 03 are shared


def test_the_example_is_a_sweep(repository: Path) -> None:
    plan = make_plan(read_sweep(repository / "examples" / "sweep.yaml"))
    assert (len(plan.runs), len(plan.steps)) == (8, 10)


def test_runs_share_what_is_the_same_so_far(workshop) -> None:
    plan = make_plan(read_sweep(workshop.file(grid={"size": [1, 2], "factor": [1, 2]})))
    assert len(plan.steps) == 2 + 4
    first, second, third, _ = plan.runs
    assert first.steps[0] == second.steps[0] != third.steps[0]
    assert len({run.steps[1] for run in plan.runs}) == 4
    assert [run.name[:-7] for run in (first, third)] == ["size=1,factor=1.0", "size=2,factor=1.0"]


def test_a_key_depends_on_all_that_matters_and_on_nothing_else(workshop) -> None:
    workshop.notebook("a_make", PLACES, ["1"])
    (workshop.folder / "mine").mkdir()
    (workshop.folder / "mine" / "notes.json").write_text("[]")

    def key() -> str:
        plan = make_plan(read_sweep(workshop.file(notebooks=["a_make.ipynb"], base={"data": "mine"})))
        return plan.runs[0].steps[0]

    first = key()
    (workshop.folder / "mine" / "notes.json").touch()
    (workshop.folder / "a_make.ipynb").touch()
    assert key() == first
    (workshop.folder / "mine" / "notes.json").write_text("[1]")
    second = key()
    workshop.notebook("a_make", PLACES, ["2"])
    assert len({first, second, key()}) == 3


def test_a_callback_beside_the_sweep_file(workshop, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (workshop.folder / "my_callback_module.py").write_text("def tell(record): return 5\nnumber = 3\n")
    found = read_sweep(workshop.file(on_finished="my_callback_module:tell"))
    assert found.on_finished is not None
    assert found.on_finished({}) == 5
    with pytest.raises(InputError, match="is not a function"):
        read_sweep(workshop.file(on_finished="my_callback_module:number"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("base: {seed: 1}", []),
        ("grid: {channel_ratio: [0, 0.2]}", ["09_channels", "21_channels_and_anchors"]),
        ("list: [{09_channels.channel_ratio: 0.1}]", ["09_channels", "21_channels_and_anchors"]),
    ],
)
def test_the_lessons_about_channels_are_in_a_sweep_that_names_a_ratio(
    tmp_path: Path, content: str, expected: list[str]
) -> None:
    (tmp_path / "sweep.yaml").write_text(content)
    stems = [notebook.stem for notebook in read_sweep(tmp_path / "sweep.yaml").notebooks]
    assert stems[-len(expected) :] == expected if expected else "09_channels" not in stems
