"""The page of a run's experiments: each claim of the paper, the verdict on this data, and the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from anchorkit.files import write_text
from anchorkit.pages.notebooks import details, page, render_notebook
from anchorkit.runs.answers import VERDICTS, read_answers
from anchorkit.runs.record import RunRecord

_PICTURES = (".svg", ".png", ".jpg")
_CLASS_OF = dict(zip(VERDICTS, ("held", "failed", "open"), strict=True))


def write_answers_page(run_dir: str | Path) -> Path:
    """Write ``experiments/index.html`` into a run's folder, from the answers of the experiments so far.

    It also renders each executed notebook as an HTML file next to it. The page loads nothing from the network.

    Returns:
        The page's path.

    Raises:
        InputError: a file of an experiment is damaged, or the page cannot be written.
    """
    folder = Path(run_dir) / "experiments"
    answers = read_answers(run_dir)
    claims = [claim for answer in answers.values() for claim in _claims(answer).values()]
    counts = [f"{sum(claim['verdict'] == verdict for claim in claims)} {verdict}" for verdict in VERDICTS]
    head = f'<p class="over">{_about(Path(run_dir))}</p><h1>The claims of the paper, on this data</h1>'
    summary = f'<p class="lead">{escape(", ".join(counts))}.</p>' if answers else ""
    missing = '<p class="missing">Not there yet: answers. Run `anchorkit experiments`.</p>' if not answers else ""
    overview = _overview(answers) if answers else ""
    parts = [_answer(folder / name, answer) for name, answer in answers.items()]
    body = "\n".join([head, summary, missing, overview, *parts])
    target = folder / "index.html"
    write_text(target, page("The claims of the paper, on this data", body, "style.css", "answers.css"))
    return target


def _about(run_dir: Path) -> str:
    """Which detector and data the answers are about, with a link to the run's page where there is one."""
    record = RunRecord.read_if_there(run_dir) or RunRecord()
    text = escape(record.name or run_dir.resolve().name)
    return f'<a href="../index.html">{text}</a>' if (run_dir / "index.html").exists() else text


def _claims(answer: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The claims of an answer by where they are made."""
    return answer.get("parts") or {answer["section"]: answer}


def _badge(verdict: str) -> str:
    return f'<span class="verdict {_CLASS_OF.get(verdict, "open")}">{escape(verdict)}</span>'


def _overview(answers: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{_badge(one['verdict'])}</td>"
        f'<td><a href="#{escape(name)}">{escape(one["claim"])}</a></td><td>{escape(where)}</td></tr>'
        for name, answer in answers.items()
        for where, one in _claims(answer).items()
    )
    head = "<thead><tr><th>Verdict</th><th>Claim</th><th>Section</th></tr></thead>"
    return f'<div class="scroll"><table class="wide">{head}<tbody>{rows}</tbody></table></div>'


def _answer(own: Path, answer: Mapping[str, Any]) -> str:
    links = []
    if (own / f"{own.name}.ipynb").exists():
        title = render_notebook(own / f"{own.name}.ipynb")
        links.append(f'<a href="{own.name}/{own.name}.html">{escape(title)}</a>')
        links.append(f'<a href="{own.name}/{own.name}.ipynb">the notebook</a>')
    pictures = "".join(
        f'<figure><div class="sheet"><img class="chart" src="{own.name}/{escape(path.name)}" '
        f'alt="{escape(path.stem.replace("_", " "))}"></div></figure>'
        for path in sorted(own.iterdir())
        if path.suffix.lower() in _PICTURES and not path.name.startswith(".")
    )
    figures = {name: escape(_text(value)) for name, value in answer["figures"].items()}
    where = answer["section"]
    over = f"Section {where} of the paper" if where[:1].isdigit() else where
    parts = "".join(
        f"<h3>{escape(name)}: {escape(part['claim'])}</h3><p>{_badge(part['verdict'])} {escape(part['answer'])}</p>"
        for name, part in answer.get("parts", {}).items()
    )
    return (
        f'<section id="{escape(own.name)}"><h2>{escape(answer["claim"])}</h2>'
        f'<p class="over">{escape(over)}</p>'
        f'<p class="lead">{_badge(answer["verdict"])} {escape(answer["answer"])}</p>'
        f"{parts}{pictures}{details('The figures behind it', figures)}<p>{' &middot; '.join(links)}</p></section>"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(item)}" for name, item in value.items())
    return str(value)
