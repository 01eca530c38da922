"""How findings are said, the command that says them, and what is said where a detector finds nothing."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from anchorkit.cli import checks, main
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.files import write_json
from anchorkit.findings import (
    FEWEST_IMAGES,
    HARDLY_TRAINED,
    Finding,
    ImplausibleDataError,
    ImplausibleDataWarning,
    nothing_can_be_told,
    report,
)
from anchorkit.pages.run_words import headline
from anchorkit.runs.answers import judged, verdict_of
from anchorkit.runs.folder import note_findings, read_findings
from anchorkit.search import search
from anchorkit.statistics import safe_to_remove

from .corruptions import corrupted, made_up, remade

WARNING = Finding("a_name", "warning", 3, "3 boxes are odd", "mend them", {"file": "a.jpg", "id": 7, "value": [1, 2]})
REFUSED = Finding("another", "refused", 1, "it cannot be", "write it again")


def test_a_finding_is_one_line_with_example_and_mend():
    assert str(WARNING) == "3 boxes are odd (such as a.jpg, id 7, value [1, 2]); mend them"
    assert str(REFUSED) == "it cannot be; write it again"
    assert Finding.from_dict(json.loads(json.dumps(WARNING.to_dict()))) == WARNING


def test_report_warns_of_what_is_new_and_refuses_first():
    with pytest.warns(ImplausibleDataWarning, match="3 boxes are odd"):
        report([WARNING])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report([WARNING], known=[WARNING])
        with pytest.raises(ImplausibleDataError, match="it cannot be") as error:
            report([WARNING, REFUSED])
    assert error.value.findings == (WARNING, REFUSED)


def test_a_run_keeps_what_its_lessons_found(tmp_path):
    assert read_findings(tmp_path) == []
    note_findings(tmp_path, "02_detector", [REFUSED])
    note_findings(tmp_path, "01_data", [WARNING])
    assert read_findings(tmp_path) == [WARNING, REFUSED]
    note_findings(tmp_path, "01_data", [])
    assert read_findings(tmp_path) == [REFUSED]
    (tmp_path / "findings.json").write_text('{"01_data": [{"nonsense": 1}]}')
    with pytest.raises(InputError, match=r"findings\.json"):
        read_findings(tmp_path)


@pytest.fixture
def files(tmp_path) -> Path:
    """A right table and its truth, a wrong and a refused one."""
    table, truth = made_up()
    write_json(tmp_path / "truth.json", truth)
    table.save(tmp_path / "right.parquet")
    for one in corrupted(table, read_ground_truth(truth)):
        if one.what in ("axes exchanged", "normalised", "class indices from 0"):
            one.table.save(tmp_path / f"{one.what.replace(' ', '_')}.parquet")
    return tmp_path


def test_check_prints_one_line_per_finding(files, capsys):
    truth = str(files / "truth.json")
    assert main(["check", str(files / "right.parquet"), truth]) == 0
    assert "nothing implausible found" in capsys.readouterr().out
    assert main(["check", str(files / "axes_exchanged.parquet"), truth]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("warning: axes_exchanged: ")
    assert out.count("\n") == 1
    assert err == ""
    assert main(["check", str(files / "normalised.parquet"), truth]) == 2
    assert capsys.readouterr().out.startswith("refused: normalised_coordinates: ")


def test_check_as_json(files, capsys):
    truth = str(files / "truth.json")
    assert main(["check", str(files / "right.parquet"), truth, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": []}
    assert main(["check", str(files / "normalised.parquet"), truth, "--json"]) == 2
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert set(finding) == {"name", "severity", "count", "what", "mend", "example"}
    assert (finding["name"], finding["severity"], finding["count"]) == ("normalised_coordinates", "refused", 960)


def test_check_of_annotations_alone(files, capsys):
    assert main(["check", str(files / "truth.json")]) == 0
    assert "nothing implausible found" in capsys.readouterr().out
    data = json.loads((files / "truth.json").read_text())
    for annotation in data["annotations"]:
        annotation["bbox"] = [side / 1000 for side in annotation["bbox"]]
    write_json(files / "truth.json", data)
    assert main(["check", str(files / "truth.json"), "--json"]) == 2
    assert [f["name"] for f in json.loads(capsys.readouterr().out)["findings"]] == ["normalised_boxes"]
    assert main(["check", str(files / "right.parquet")]) == 2
    assert "GROUND_TRUTH" in capsys.readouterr().err


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_command_shows_a_warning_once(capsys, monkeypatch):
    def opened_twice(subject: str) -> tuple[Finding, ...]:
        for stacklevel in (1, 2):
            warnings.warn(f"{subject}: read as\nYOLO", stacklevel=stacklevel)
        return ()

    monkeypatch.setattr(checks, "_data", opened_twice)
    for data in ("a", "b", "b"):  # each is a command of its own
        assert main(["check", data]) == 0
        assert capsys.readouterr().err == f"anchorkit: warning: {data}: read as YOLO\n"


def test_max_dets_on_the_command_line(files, capsys):
    given = [str(files / "right.parquet"), str(files / "truth.json")]
    assert main(["evaluate", *given, "--max-dets", "1,10,300", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    expected = Evaluator(made_up()[0], made_up()[1], max_dets=(1, 10, 300)).stats([0, 1])
    assert figures == expected
    assert "AR300" in figures
    assert main(["search", *given, "--cost", "boxes", "--max-dets", "2", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["frontier"][0]["accuracy"]
    assert best < expected["AP"]
    for wrong in ("0", "10,1", "1,2,3,4", "many"):
        assert main(["evaluate", *given, "--max-dets", wrong]) == 2
        assert "rising whole numbers" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*have a category that")
def test_search_refuses_where_the_full_detector_finds_nothing(files, capsys):
    table = str(files / "class_indices_from_0.parquet")
    assert main(["evaluate", table, str(files / "truth.json"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["AP"] < HARDLY_TRAINED
    assert "class indices from 0" in err
    assert main(["evaluate", table, str(files / "truth.json")]) == 0
    assert "so nothing can be told about its anchors." in capsys.readouterr().out.splitlines()[0]
    assert main(["search", table, str(files / "truth.json"), "--cost", "boxes", "--threshold", "0"]) == 0
    assert "so nothing can be told about its anchors." in capsys.readouterr().out.splitlines()[0]
    nothing = remade(made_up()[0], made_up()[0].boxes + 5000)
    evaluator = Evaluator(nothing, made_up()[1])
    with pytest.raises(InputError, match="finds nothing .* so nothing can be told"):
        search(evaluator, cost="boxes", progress=False)
    with pytest.warns(ImplausibleDataWarning, match="nothing can be told"):
        result = search(evaluator, cost="boxes", threshold=0.0, progress=False)
    assert headline(result, None) == nothing_can_be_told(0.0)
    statement = safe_to_remove(evaluator, result, draws=20)
    assert statement.n_removed == 0
    assert "nothing can be told" in str(statement)
    assert "safe" not in str(statement)
    assert not statement.points["safe"].any()


@pytest.mark.parametrize(
    ("accuracy", "word"), [(-1.0, "finds nothing"), (0.0, "finds nothing"), (0.03, "hardly trained")]
)
def test_one_rule_of_when_nothing_can_be_told(accuracy, word):
    assert word in str(nothing_can_be_told(accuracy))
    assert verdict_of(1, [0.4, accuracy]) == "cannot be told here"
    assert nothing_can_be_told(HARDLY_TRAINED) is None
    assert nothing_can_be_told(0.03, "APs") is None  # small objects are hard
    assert nothing_can_be_told(0.5, images=FEWEST_IMAGES) is None
    assert str(nothing_can_be_told(0.5, images=1)).startswith("1 image is too few")
    assert word in str(nothing_can_be_told(accuracy, images=1))  # the worse comes first
    assert judged("held", "So it is.", 0.5, FEWEST_IMAGES) == ("held", "So it is.")
    verdict, answer = judged("held", "So it is.", accuracy)
    assert verdict == "cannot be told here"
    assert answer == f"{nothing_can_be_told(accuracy)}. So it is."


class _Toy:
    """Answers with one accuracy."""

    def __init__(self, accuracy: float) -> None:
        self.layout, self.metric, self.value = made_up(images=1)[0].layout, "AP", accuracy

    def accuracy(self, configuration: Any) -> float:
        return self.value

    def children(self, configuration: Any, moves: Any) -> Any:
        return [self.value for _ in moves]


def test_search_warns_of_a_detector_that_is_hardly_trained():
    with pytest.warns(UserWarning, match=r"hardly trained \(AP 3.0 points\), so nothing can be told"):
        search(_Toy(0.03), cost="boxes", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(_Toy(0.3), cost="boxes", progress=False)
