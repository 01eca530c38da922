"""The handout: its evaluator against Python's, to the last bit; what it leaves out; its file; its game."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit import Evaluator, PostProcess, PredictionTable
from anchorkit.anchors import AnchorLayout, Level, TrunkPart
from anchorkit.batch import runner
from anchorkit.costs import cost_of, costs
from anchorkit.errors import InputError
from anchorkit.pages.handout import handout, score_codes, write_handout
from anchorkit.pages.handout.drop import drop
from anchorkit.pages.handout.game import Budget, code_of, tag_of
from anchorkit.pages.handout.page import script
from anchorkit.pages.handout.table import read_table
from anchorkit.pages.run import write_index
from anchorkit.plots.export import remote_references
from anchorkit.runs.folder import remove_left

from ..browser import material
from ..evaluation.cases import dense_case, random_case
from ..evaluation.real_ssd import real_ssd
from .handouts import DROP_EDITS, EDITS, NASTY, Question, ask, edited_left, in_node, left, nasty


def few(rows: list[tuple[int, int, float, float]], post: PostProcess) -> Question:
    """One image with an object of class 1 at 100 (x). Rows are (anchor, class, score, x): boxes 10 wide."""
    layout = AnchorLayout("few", (160, 160), (Level("P0", 4, 4, ((10.0, 10.0), (10.0, 12.0))),))
    anchor, klass, score, x = map(np.array, zip(*rows, strict=True))
    boxes = np.stack([x, 0 * x, x + 10, 0 * x + 10], axis=1)
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [100, 0, 10, 10], "area": 100}],
    }
    return Question.at_random(
        Evaluator(PredictionTable(0 * klass + 1, anchor, klass, score, boxes, layout, post), truth)
    )


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """The nasty tables, one with many suppressions, and three that fill a cap in ways of their own."""
    two, dense = PostProcess(0.0, None, "class", 0.5, 2), random_case(84)
    return [
        *map(nasty, NASTY),
        Question.at_random(Evaluator(dense.predictions, dense.ground_truth), 256),
        few([(0, 1, 0.9, 10), (0, 1, 0.5, 100)], two),
        few([(1, 1, 0.9, 10), (0, 1, 0.8, 7), (0, 1, 0.7, 13), (0, 1, 0.5, 100)], two),
        few([(0, 2, 0.9, 10), (0, 2, 0.8, 40), (0, 1, 0.5, 100)], PostProcess(0.0, 1, "class", 0.5, 2)),
    ]


def wrong(questions: list[Question], answers: list[dict[str, Any]]) -> int:
    """How many answers differ in any bit."""
    given = [list(zip(a["accuracies"], q.expected, strict=True)) for q, a in zip(questions, answers, strict=True)]
    return sum(found != expected for pairs in given for found, expected in pairs)


def test_the_same_bits_as_python(questions: list[Question]) -> None:
    whole = [(one, read_table(one.evaluator)) for one in questions]
    assert wrong(questions, ask(whole)) == 0
    assert wrong(questions, ask([(one, drop(table)) for one, table in whole])) == 0
    # The tables do ask for something: many different answers, and much that is left out.
    assert [len(set(one.expected)) > 25 for one in questions[:6]] == [True] * 6
    assert [len(drop(table)) < len(one.evaluator.predictions) for one, table in whole[:6]] == [True] * 6


@pytest.mark.parametrize("name", EDITS)
def test_an_evaluator_that_breaks_a_rule_is_noticed(questions: list[Question], name: str) -> None:
    tables = [(one, left(one.evaluator)) for one in questions]
    assert wrong(questions, ask(tables, EDITS[name])) > 0


def test_an_interrupted_answer_begins_again(questions: list[Question]) -> None:
    tables = [(one, left(one.evaluator)) for one in questions]
    assert wrong(questions, ask(tables, interrupted=True)) == 0
    source = script("evaluate.js")
    guard = re.search(r"yield;\s+(if \(own !== this\.turn\) return undefined;)\s+}\s+return pairwise", source)
    assert guard is not None  # without it, answers are wrong
    edit = (source[guard.start() : guard.end()], guard[0].replace(guard[1], ""))
    assert wrong(questions, ask(tables, edit, interrupted=True)) > 0


def test_leaving_out_too_much_is_noticed(questions: list[Question]) -> None:
    jobs = {name: edited_left(*edit) for name, edit in DROP_EDITS.items()}
    pairs = [(one, edited(one.evaluator)) for edited in jobs.values() for one in questions]
    answers, n = ask(pairs), len(questions)
    found = {name: wrong(questions, answers[i * n : (i + 1) * n]) for i, name in enumerate(jobs)}
    assert [name for name, count in found.items() if count == 0] == []


def test_random_tables() -> None:
    cases = [make(seed) for seed in range(300, 312) for make in (random_case, dense_case)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [Question.at_random(Evaluator(case.predictions, case.ground_truth), 64) for case in cases]
    assert wrong(made, ask([(one, left(one.evaluator)) for one in made])) == 0


def test_a_raised_score_threshold_and_a_subset() -> None:
    whole = Evaluator(material.TABLE, material.TRUTH)
    strict = whole.with_postprocess(score_threshold=0.4, max_detections=3)
    made = [Question.at_random(one, 64) for one in (strict, whole.subset([3, 4, 9]))]
    assert wrong(made, ask([(one, left(one.evaluator)) for one in made])) == 0


@pytest.fixture(scope="module")
def searched() -> tuple[Evaluator, ak.SearchResult]:
    evaluator = Evaluator(material.TABLE, material.TRUTH)
    return evaluator, ak.search(evaluator, threshold=0.0, progress=False)


def test_every_configuration_of_a_search(searched: tuple[Evaluator, ak.SearchResult]) -> None:
    evaluator, search = searched
    sets = [[evaluator.layout.index(name) for name in ids.split()] for ids in search.evaluated["anchors"]]
    question = Question.of(evaluator, sets)
    (answer,) = ask([(question, left(evaluator))])
    assert answer["accuracies"] == search.evaluated["accuracy"].tolist()
    assert len(sets) > 50


@pytest.mark.parametrize("shared", [False, True])
def test_costs(shared: bool) -> None:
    levels = tuple(
        Level(
            f"P{k}",
            8 >> k,
            6,
            ((8.0, 8.0), (16.0, 8.0), (8.0, 16.0))[: 3 - (k == 2)],
            50 + k,
            100,
            7,
            11 + k,
            positions,
        )
        for k, positions in enumerate([(), (0, 2, 4), ()])
    )
    parts = (TrunkPart("last", 1_000, (2,)), TrunkPart("two", 300, (1, 2)), TrunkPart("none", 5, ()))
    known = AnchorLayout("made-up", (64, 64), levels, shared, 9_000_000_000_000, parts)
    unknown = AnchorLayout("made-up", (64, 64), levels[:1], shared)
    post = PostProcess()
    for layout in (known, unknown):
        table = PredictionTable([1], [0], [1], [0.9], [[0, 0, 8, 8]], layout, post)
        truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": []}
        question = Question.at_random(Evaluator(table, truth), 256)
        (answer,) = ask([(question, left(question.evaluator))])
        assert answer["costs"] == [costs(layout.configuration(keep=kept)) for kept in question.sets]
        assert set(answer["accuracies"]) == {-1.0}  # nothing is to be found


@pytest.mark.real
def test_a_real_ssd(real_data: Path) -> None:
    evaluator = real_ssd(real_data, 25, 0.05)
    question = Question.at_random(evaluator, 60)
    table = left(evaluator)
    assert len(table) < 0.6 * len(evaluator.predictions)
    assert table.limited.any()
    assert wrong([question], ask([(question, table)])) == 0


def test_amounts_are_written_with_commas() -> None:
    values = [0, 7, 999, 1000, 2424, 99_999, 123_456, 19_300_000, 123_456_789, 987_654_321_000_000]
    [said] = in_node(f"{script('words.js')}\nconsole.log(JSON.stringify({values}.map(amount)))")
    assert said == [
        *("0", "7", "999", "1,000", "2,424", "99,999"),
        *("123 k", "19.3 M", "123 M", "987,654 G"),
    ]


# --- the file


@pytest.fixture(scope="module")
def page(searched: tuple[Evaluator, ak.SearchResult]) -> str:
    return handout(*searched, "made-up <detector>", material.split())


def test_the_file_is_whole_and_alone(page: str) -> None:
    assert remote_references(page) == []
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert "made-up &lt;detector&gt;" in page
    anchors = re.search(r'id="anchors">(.*?)</script>', page)
    assert anchors is not None
    assert json.loads(anchors.group(1)) == list(material.LAYOUT.ids)


def test_the_same_input_gives_the_same_file(page: str, searched: tuple[Evaluator, ak.SearchResult]) -> None:
    assert handout(*searched, "made-up <detector>", material.split()) == page


def test_a_file_for_private_data_has_no_pixels(page: str, searched: tuple[Evaluator, ak.SearchResult]) -> None:
    private = handout(*searched, "made-up <detector>", material.split(), images=False)
    assert "data:image" in page
    assert "12 images, with their boxes" in page
    assert "data:image" not in private
    assert "no images, no file names, no scores and no positions" in private
    assert len(private) < len(page)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        material.write_run(folder)
    return folder


def test_the_command(run: Path, command: Any, tmp_path: Path) -> None:
    code, out, _ = command("handout", run, "--out", tmp_path / "board.html", "--no-images", "--json")
    said = json.loads(out)
    assert (code, said["handout"]) == (0, str(tmp_path / "board.html"))
    assert said["bytes"] == (tmp_path / "board.html").stat().st_size
    code, out, _ = command("handout", run)
    assert code == 0
    assert (run / "handout.html").is_file()


def test_the_end_of_a_run_leaves_it_and_its_page_links_to_it(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (run / "handout.html").unlink(missing_ok=True)
    assert 'href="handout.html"' not in write_index(run).read_text(encoding="utf-8")
    runner._write_handout(run)
    assert 'href="handout.html"' in write_index(run).read_text(encoding="utf-8")
    # One that a user wrote with other options stays, and goes with the search that it is of.
    (run / "handout.html").write_text("without images")
    runner._write_handout(run)
    assert (run / "handout.html").read_text() == "without images"
    shutil.copytree(run, tmp_path / "copy")
    assert "handout.html" in remove_left(tmp_path / "copy", ["04_search"], everything=False)
    (run / "handout.html").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_LARGEST_HANDED_OUT", 10)
        runner._write_handout(run)
    assert not (run / "handout.html").exists()
    assert f"`anchorkit handout {run}` writes it" in capsys.readouterr().err


def test_a_run_without_a_search_is_refused(tmp_path: Path, run: Path, command: Any) -> None:
    (tmp_path / "predictions.parquet").write_bytes((run / "predictions.parquet").read_bytes())
    code, _, error = command("handout", tmp_path)
    assert code == 2
    assert "run the notebook 04_search first" in error
    with pytest.raises(InputError, match="02_detector"):
        write_handout(tmp_path / "nothing")


# --- the game


def test_scores(searched: tuple[Evaluator, ak.SearchResult], tmp_path: Path) -> None:
    evaluator, search = searched
    budget, tag = Budget.of(search), tag_of(evaluator.fingerprint)
    within = [one for one in search.configurations if cost_of(one, budget.cost) <= budget.limit]
    best, worst = code_of(within[0], tag), code_of(within[-1], tag)
    mistyped = best[:-1] + ("0" if best[-1] != "0" else "1")
    foreign, too_much = code_of(within[0], (tag + 1) % 2**15), code_of(evaluator.full, tag)
    codes = tmp_path / "codes.txt"
    codes.write_text(f"Bob {worst.lower()}\nAda, {best}\n\nEve {mistyped}\nTom {foreign}\n{too_much}\nno code\n")
    rows = score_codes(evaluator, search, codes)
    assert [row["name"] for row in rows] == ["Ada", "Bob", "Eve", "Tom", "?", "no code"]
    assert rows[0]["accuracy"] == evaluator.accuracy(within[0]) == budget.accuracy
    assert rows[0]["lead"] == 0.0
    assert rows[1]["lead"] < 0
    problems = " | ".join(row["problem"] for row in rows[2:])
    assert re.search("mistyped.*another run.*over the budget.*no code", problems)
    codes.write_text("\n")
    with pytest.raises(InputError, match="no codes"):
        score_codes(evaluator, search, codes)


def test_scores_on_the_command_line(run: Path, command: Any, tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("Ada 000-00-00\n")
    code, out, _ = command("handout", run, "--scores", tmp_path / "codes.txt")
    assert code == 0
    assert "Ada: 000-00-00 is" in out
