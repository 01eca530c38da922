from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.pages import notebooks
from anchorkit.pages.run import write_index
from anchorkit.pages.run_words import last_words, to_ship
from anchorkit.plots.export import remote_references
from anchorkit.runs.learning import Learning
from anchorkit.runs.points import Points
from anchorkit.runs.provenance import content_hash
from anchorkit.search.result import Asked, SearchResult, kept_in

from ..plots import chart_samples as samples


def save_result(folder: Path, cost: str, frontier: pd.DataFrame, evaluated: pd.DataFrame) -> None:
    layout = samples.layout()
    asked, kept = Asked.of(layout, cost), kept_in(layout, frontier)
    SearchResult(layout, asked, "algorithm1", frontier, evaluated, kept).save(folder / "search")


def write_search(folder: Path) -> None:
    full, best, tried = samples.full(), samples.frontier(), samples.evaluated(300)
    evaluated = pd.concat([full.assign(order=0, parent=-1), tried, best.assign(order=0, parent=0)], ignore_index=True)
    evaluated["order"] = range(len(evaluated))
    # The full configuration is on its own frontier.
    frontier = pd.concat([full, best[best["accuracy"] < full["accuracy"].iloc[0]]], ignore_index=True)
    save_result(folder, "head_flops", frontier, evaluated)
    samples.random_rows(100).to_csv(folder / "search" / "random.csv", index=False)


def write_points(folder: Path) -> None:
    (folder / "retrained").mkdir()
    samples.recovery().assign(split="test").to_csv(folder / "retrained" / "points.csv", index=False)


def write_holding(folder: Path, **changes: Any) -> None:
    """What 04_search found to hold, of a configuration of the frontier."""
    row = samples.frontier().iloc[10]
    facts = {
        "search": content_hash(folder / "search" / "frontier.csv"),
        "headline": f"With 95 % confidence, {30 - row['n_anchors']} of 30 anchors can go <and> AP falls by less",
        "evidence": "Measured on 500 images that took no part in the search: AP 54.0 to 53.9.",
        "hope": "About 900 such images would tell.",
        "gap": "",
        "nothing": None,
        "n_removed": int(30 - row["n_anchors"]),
        "anchors": row["anchors"].split(),
        "unpruned": 0.540,
        "change": -0.001,
        "saved": 0.3,
        "folds": 0,
        **changes,
    }
    (folder / "search" / "holds.json").write_text(json.dumps(facts))


def write_figures(folder: Path) -> None:
    (folder / "figures").mkdir()
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(6):
        image = (rng.random((20, 20, 3)) * 255).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(image).resize((160, 160)))
        boxes = np.sort(rng.random((3, 2, 2)) * 160, axis=1).reshape(3, 4)
        pictures.append(
            plots.draw_boxes(pixels, boxes, ["ball", "bar", "tile 0.93"], [plots.level_color(i) for i in range(3)])
        )
    plots.contact_sheet(pictures, 3, [f"picture {n}" for n in range(6)]).save(folder / "figures" / "01_detections.png")
    plots.save(
        plots.level_costs(samples.level_costs(samples.KEPT), samples.level_costs()), folder / "figures" / "levels.svg"
    )
    plots.save(plots.recovery(samples.recovery()), folder / "figures" / "recovery.svg")


def write_notebooks(folder: Path) -> None:
    (folder / "notebooks").mkdir()
    svg = plots.to_svg(plots.anchor_board(samples.anchors(samples.KEPT)))
    chart = nbformat.v4.new_output("display_data", {"image/svg+xml": svg, "text/plain": "chart"})
    widget = nbformat.v4.new_output(
        "display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider()"}
    )
    table = nbformat.v4.new_output(
        "execute_result", {"text/html": samples.table().iloc[:, :4].to_html()}, execution_count=1
    )
    remote = nbformat.v4.new_output(
        "display_data", {"text/html": '<script src="https://cdn.example/x.js">let a = 1</script><p>stays</p>'}
    )
    for name, title in (("00_start_here", "Start here"), ("04_search", "The *search*")):
        cells = [
            nbformat.v4.new_markdown_cell(f"# {title}\n\nWhat you will learn: how to **read** `code` & more."),
            nbformat.v4.new_code_cell(
                "import anchorkit as ak\n\nfor level in range(3):  # a comment\n    print('level', level)",
                outputs=[
                    nbformat.v4.new_output("stream", name="stdout", text="level 0\nlevel 1\nlevel 2\n"),
                    chart,
                    chart,
                ],
            ),
            nbformat.v4.new_code_cell("chooser", outputs=[widget, table, remote]),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebooks" / f"{name}.ipynb")


def write_record(folder: Path) -> None:
    record = {
        "format": 1,
        "anchorkit": "0.1.0",
        "profile": "quick",
        "data": "/home/somebody/shapes",
        "detector": "tiny_ssd",
        "parameters": {"threshold": 0.4},
        "seeds": {"04_search": 0},
        "python": "3.11.7",
        "platform": "Linux",
        "versions": {"numpy": "2.0.0", "torch": None},
        "started": "2025-01-02T03:04:05+00:00",
        "finished": "2025-01-02T03:09:05+00:00",
        "notebooks": {
            "00_start_here": {"parameters": {"data": "<shapes>"}, "seconds": 12.3},
            "04_search": {"parameters": {"threshold": 0.4, "cost": "head_flops"}, "seconds": 75.0},
        },
    }
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for write in (write_record, write_search, write_holding, write_points, write_figures, write_notebooks):
        write(folder)
    assert write_index(folder) == folder / "index.html"
    return folder


class Checker(HTMLParser):
    """Sees to it that tags close in order, ids are unique and nothing points outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in ("meta", "br", "img", "link", "hr", "input", "path", "line", "rect"):
            self.open.append(tag)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values[name]) for name in ("href", "src") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "line", "rect"):
            return
        assert self.open.pop() == tag


def check(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text())
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    return checker


def text_of(path: Path) -> str:
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|style)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL))


def test_the_result_comes_first(whole: Path) -> None:
    page = (whole / "index.html").read_text()
    holding = json.loads((whole / "search" / "holds.json").read_text())
    headline = re.search(r"<h1>(.*?)</h1>", page)
    assert headline is not None
    assert headline.group(1) == escape(holding["headline"])
    frontier = samples.frontier()
    enough = frontier[frontier["accuracy"] >= samples.full()["accuracy"].iloc[0] - 0.002]
    row = enough.loc[enough["head_flops"].idxmin()]
    text = " ".join(text_of(whole / "index.html").split())
    on_search = f"without {30 - row['n_anchors']} of 30 anchors AP falls by at most 0.2 points (AP 55.1 "
    assert (
        text.index(holding["evidence"]) < text.index("To ship: ") < text.index(holding["hope"]) < text.index(on_search)
    )
    assert "On the images of the search alone, which flatter what they chose" in text
    assert "53.9 −0.1, was 54.0" in text  # the card of AP is of the images of the headline
    order = [
        page.index(mark)
        for mark in ("<h1>", "Accuracy against cost", "before and after", "What training", "How it was")
    ]
    assert order == sorted(order)


def test_it_opens_without_the_network(whole: Path) -> None:
    for path in (whole / "index.html", *whole.glob("notebooks/*.html")):
        text = path.read_text()
        assert remote_references(text) == []
        assert "<script" not in text
        for link in check(path).links:
            assert link.startswith("data:") or (path.parent / link).exists(), link


def test_the_table_says_before_and_after(whole: Path) -> None:
    text = " ".join(text_of(whole / "index.html").split())
    for part in (
        "A pruned",
        "headline pruned",
        "B fine-tuned",
        "D retrained",
        "measured on the test images",
        "Not there yet",
    ):
        assert (part in text) == (part != "Not there yet"), part
    assert "To ship: " in text
    assert text.count("to ship") == 1
    assert "Candidate to ship" not in text
    assert "1 min 27 s" in text  # altogether
    assert "&lt;shapes&gt;" in (whole / "index.html").read_text()


def test_what_no_other_images_have_measured_is_a_candidate() -> None:
    seen = samples.recovery()
    seen["split"] = "val"
    for rows, lead in ((pd.concat([seen, seen.assign(split="test")]), "To ship: "), (seen, "Candidate to ship: ")):
        said = to_ship(Points(rows), None)
        assert said is not None
        assert said[0].startswith(lead)
        assert said[1].endswith("No other images have confirmed it.") == (rows is seen)


def test_of_two_splits_the_test_images_are_reported(tmp_path: Path) -> None:
    write_search(tmp_path)
    (tmp_path / "retrained").mkdir()
    val = samples.recovery().assign(split="val")
    test = val.assign(split="test", accuracy=val["accuracy"] - 0.1)
    pd.concat([val, test]).to_csv(tmp_path / "retrained" / "points.csv", index=False)
    text = " ".join(text_of(write_index(tmp_path)).split())
    full = 100 * val["accuracy"].iloc[0]
    assert f"on the test images: AP {full - 10:.1f} \N{RIGHTWARDS ARROW}" in text
    assert "measured on the test images, which were not used to choose" in text
    assert text.count("A pruned") == 2  # on the validation images, and on the test images
    assert text.count("A retrained") == 1


def test_charts_are_drawn_once(whole: Path) -> None:
    page = (whole / "index.html").read_text()
    assert page.count("<svg") == 3  # frontier, recovery, board
    assert page.count("data:image/svg+xml") == 1  # levels; the recovery of the folder is the one drawn here
    assert page.count("data:image/jpeg") == 1
    assert len(page) < 2_000_000


def test_notebooks_are_rendered(whole: Path) -> None:
    page = (whole / "notebooks" / "04_search.html").read_text()
    assert "<title>The search</title>" in page
    assert page.count("data:image/svg+xml") == 2
    assert "(a widget: open the notebook to use it)" in page
    assert "cdn.example" not in page
    assert "<p>stays</p>" in page
    assert 'href="../index.html"' in page
    assert "The search</a>" in (whole / "index.html").read_text()


def test_a_notebook_is_rendered_again_only_when_it_changed(tmp_path: Path) -> None:
    write_notebooks(tmp_path)
    write_index(tmp_path)
    notebook = tmp_path / "notebooks" / "04_search.ipynb"
    rendered = notebook.with_suffix(".html")
    rendered.write_text(rendered.read_text() + "left alone")
    os.utime(notebook, (2e9, 2e9))  # whatever the clock says
    write_index(tmp_path)
    assert "left alone" in rendered.read_text()
    notebook.write_text(notebook.read_text().replace("\n", "\n\n", 1))
    os.utime(notebook, (0, 0))
    write_index(tmp_path)
    assert "left alone" not in rendered.read_text()


def test_the_notebook_that_is_being_executed_is_left_alone(tmp_path: Path) -> None:
    write_notebooks(tmp_path)
    started = tmp_path / "notebooks" / ".06_report-1a2b.ipynb"
    started.write_text('{"cells": [')
    assert ".06_report" not in write_index(tmp_path).read_text()
    assert [path.name for path in tmp_path.rglob(".*")] == [started.name]


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    text = text_of(write_index(tmp_path))
    for maker in ("04_search", "05_prune_and_retrain", "anchorkit run"):
        assert f"Run {maker}" in text.replace("`", "")
    assert "no result yet" in text
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_search_alone_is_enough(tmp_path: Path) -> None:
    write_search(tmp_path)
    (tmp_path / "search" / "random.csv").unlink()
    text = " ".join(text_of(write_index(tmp_path)).split())
    assert "not yet looked at on other images: run 04_search again" in text
    assert "On the images of the search alone" in text
    assert "loses at most 0.2 points" in text
    assert "Run 05_prune_and_retrain" in text


def test_when_no_anchor_can_go(tmp_path: Path) -> None:
    full = samples.full()
    save_result(tmp_path, "boxes", full, full.assign(order=0, parent=-1))
    write_holding(tmp_path, headline="All 30 anchors are needed", n_removed=0)
    text = text_of(write_index(tmp_path))
    assert "All 30 anchors are needed" in text
    assert "every smaller set loses more than 0.2 points of AP" in text
    assert "The anchors that stay" not in text


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        write_index(tmp_path / "nowhere")
    write_points(tmp_path)
    points = tmp_path / "retrained" / "points.csv"
    points.write_text(points.read_text().replace("head_flops", "flops"))
    with pytest.raises(InputError, match=r"points\.csv: lacks the column 'head_flops'"):
        write_index(tmp_path)
    points.unlink()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_data.ipynb").write_text('{"cells": [')
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"\x89PNG\r\n")
    assert not (tmp_path / "index.html").exists()
    text = text_of(write_index(tmp_path))  # the result is there all the same
    assert "01_data.ipynb: not a notebook" in text
    assert "a.png: not a picture" in text


def test_a_notebook_that_cannot_be_rendered_is_left_out(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(content: object) -> str:
        raise ValueError("Invalid character at position 0\nand more")

    shutil.copytree(whole, tmp_path / "run")
    for page in (tmp_path / "run" / "notebooks").glob("*.html"):
        page.unlink()
    monkeypatch.setattr(notebooks, "_cells", broken)
    text = text_of(write_index(tmp_path / "run"))
    assert "nbconvert cannot render it (Invalid character at position 0)" in text
    assert "anchors can go" in text


def test_a_statement_on_another_search_is_not_shown(tmp_path: Path) -> None:
    write_search(tmp_path)
    write_holding(tmp_path)
    assert "anchors can go" in write_index(tmp_path).read_text()
    with (tmp_path / "search" / "frontier.csv").open("a") as file:
        file.write("\n")
    assert "anchors can go" not in write_index(tmp_path).read_text()
    (tmp_path / "search" / "holds.json").write_text("{}")
    with pytest.raises(InputError, match="holds.json: KeyError 'search'; run the notebook 04_search again"):
        write_index(tmp_path)


def test_what_few_images_cannot_tell_is_praised_nowhere(tmp_path: Path) -> None:
    write_search(tmp_path)
    write_points(tmp_path)
    few = str(nothing_can_be_told(0.5, images=12))
    write_holding(tmp_path, headline=few, nothing=few, evidence="Looked at: 12 images.", hope="")
    text = text_of(write_index(tmp_path))
    assert "12 images are too few to tell which anchors the detector needs" in text
    assert "No detector to ship" in text
    for claim in ("can go", "loses nothing", "to ship: ", "at most", "headline", "The anchors that stay"):
        assert claim not in text, claim
    assert [line.startswith("12 images are too few") for line in last_words(tmp_path)[:1]] == [True]


def test_how_far_the_detector_learnt_comes_before_the_result(tmp_path: Path) -> None:
    write_search(tmp_path)
    write_holding(tmp_path)
    rising = Learning("still rising", 0.3, 0.1, 400, 3.0, "random weights", "anchorkit run --profile full", 40.0)
    (tmp_path / "detector").mkdir()
    rising.write(tmp_path)
    text = " ".join(text_of(write_index(tmp_path)).split())
    assert text.index(rising.sentence) < text.index(rising.advice) < text.index("anchors can go")
    assert last_words(tmp_path)[0] == str(rising)
    replace(rising, state="settled").write(tmp_path)
    assert rising.sentence not in text_of(write_index(tmp_path))
    assert last_words(tmp_path)[0].startswith("With 95 % confidence")


def test_findings_of_the_lessons_stand_on_the_page(tmp_path):
    from anchorkit.findings import Finding
    from anchorkit.runs.folder import note_findings

    write_search(tmp_path)
    assert "Look at the data" not in write_index(tmp_path).read_text()
    note_findings(tmp_path, "01_data", [Finding("a_name", "warning", 2, "2 boxes <leave>", "mend them")])
    text = write_index(tmp_path).read_text()
    assert "Look at the data" in text
    assert "<li>2 boxes &lt;leave&gt;; mend them</li>" in text


@pytest.mark.parametrize(("accuracy", "word"), [(0.0, "finds nothing"), (0.02, "is hardly trained")])
def test_no_page_says_that_anchors_are_enough_where_the_detector_finds_nothing(tmp_path, accuracy, word):
    write_search(tmp_path)
    write_points(tmp_path)
    for name in ("search/frontier.csv", "retrained/points.csv"):
        table = pd.read_csv(tmp_path / name)
        table["accuracy"] *= accuracy / table["accuracy"].max()
        table.to_csv(tmp_path / name, index=False)
    evaluated = pd.read_parquet(tmp_path / "search" / "evaluated.parquet")
    evaluated["accuracy"] *= accuracy / evaluated["accuracy"].max()
    evaluated.to_parquet(tmp_path / "search" / "evaluated.parquet", index=False)
    text = write_index(tmp_path).read_text()
    assert f"The full detector {word}" in text
    for claim in ("can go", "are needed", "loses nothing", "reach AP", " safe", "To ship"):
        assert claim not in re.sub(r"<(svg|style)\b.*?</\1>", "", text, flags=re.DOTALL), claim
