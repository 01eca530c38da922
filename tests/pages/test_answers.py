"""The page of answers: experiments that look at several claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from anchorkit.errors import InputError
from anchorkit.pages.answers import write_answers_page
from anchorkit.runs.answers import experiment_folder, read_answers, save_answer, verdict_on_all

PARTS = {
    "S1a": ("Small < large", "held", "By 2 points."),
    "S1b": ("Fast", "did not hold", "It takes as long."),
    "S1c": ("Sure", "held", "Always."),
}


def test_each_claim_has_its_verdict(tmp_path: Path) -> None:
    one = experiment_folder(tmp_path, "22_one")
    save_answer(one, "All of it", "Another paper", "did not hold", "Three claims.", {"gain": 1.5}, PARTS)
    save_answer(experiment_folder(tmp_path, "12_other"), "Alone", "3.3", "held", "Yes.", {})
    page = write_answers_page(tmp_path).read_text()
    assert "3 held, 1 did not hold, 0 cannot be told here." in page
    for text in (
        "S1b: Fast",
        "It takes as long.",
        "Small &lt; large",
        ">Another paper</p>",
        "Section 3.3 of the paper",
    ):
        assert text in page
    assert read_answers(tmp_path)["22_one"]["parts"]["S1b"]["verdict"] == "did not hold"


def test_a_verdict_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="verdict 'maybe'"):
        save_answer(tmp_path, "C", "3", "held", "A.", {}, {"S": ("C", "maybe", "A.")})
    assert not (tmp_path / "answer.json").exists()


def test_several_verdicts_as_one() -> None:
    assert verdict_on_all(["held", "held"]) == "held"
    assert verdict_on_all(["held", "did not hold", "cannot be told here"]) == "did not hold"
