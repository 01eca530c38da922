"""Build the site: python docs/make_site.py [--run RUN] [--out DIR]

The sources are gathered in a folder with the layout of the repository, so that links work there as they do on GitHub:
the pages of docs/, README, the cards of the data, the executed notebooks of a run, its handout, and the reference.
Without `--run` it takes runs/quick-shapes, which `make run` leaves, or else makes a run with few images first.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import make_reference
import nbformat
from make_diagram import draw

from anchorkit.batch import run_experiments, run_notebooks
from anchorkit.batch.execution import Kernel
from anchorkit.batch.plans import EXPERIMENTS, find_notebooks
from anchorkit.batch.profiles import PROFILES
from anchorkit.files import write_text
from anchorkit.pages.handout import write_handout
from anchorkit.pages.notebooks import keep_static

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = REPOSITORY / "docs" / "site"
NOTEBOOKS = REPOSITORY / "notebooks"
OUT = REPOSITORY / "docs" / "_build"
COPIED = ("README.md", "CHANGELOG.md", "LICENSE", "docs", "benchmarks", "examples", "data")
USUAL_RUN = REPOSITORY / "runs" / "quick-shapes"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#:]+)\)")
"""A link to a file or a folder; GitHub shows folders, a site has none."""
_MERMAID = re.compile(r"```mermaid\n(.*?)```\n", re.DOTALL)
_TITLE = re.compile(r'aria-label="Title text \'([^"]+)\'"')


def small_run(folder: Path) -> Path:
    """A run of the lessons and experiments with few images; what was done before in the folder is not done again."""
    run_notebooks("smoke", out=folder)
    run_experiments(folder)
    return folder


def executed(run: Path) -> dict[str, Path]:
    """The notebooks that a run has executed, by name."""
    return {path.name: path for path in (*run.glob("experiments/*/*.ipynb"), *run.glob("notebooks/*.ipynb"))}


def execute_others(known: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Execute, with few images, the notebooks that a run leaves out; those that are newer than their source stay."""
    folder.mkdir(parents=True, exist_ok=True)
    others = {path.name: folder / path.name for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name not in known}
    with Kernel(folder) as kernel:
        for name, output in others.items():
            notebook = NOTEBOOKS / name
            if not output.exists() or output.stat().st_mtime < notebook.stat().st_mtime:
                print(f"{notebook.stem}: on its own", file=sys.stderr)
                values = PROFILES["smoke"].get(notebook.stem, {})
                kernel.execute(notebook, output, {"run_dir": str(folder / "run"), **values})
    return others


def gather(source: Path, run: Path, notebooks: dict[str, Path]) -> None:
    """Put the sources of the site into a folder.

    Args:
        source: the folder, which does not exist yet.
        run: of which the handout is shown.
        notebooks: the executed ones by name; others are shown without outputs.
    """
    shutil.copytree(PAGES, source, ignore=shutil.ignore_patterns("__pycache__"))
    for name in COPIED:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("_build", "site", "__pycache__"))
        else:
            shutil.copy2(path, source / name)
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        write_text(source / "notebooks" / notebook.name, shown(notebooks.get(notebook.name, notebook)))
    for page in source.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        text = _LINK.sub(lambda link, at=page.parent: link[1] if (at / link[2]).is_dir() else link[0], text)
        page.write_text(_MERMAID.sub(_drawn, text), encoding="utf-8")
    write_handout(run, source / "extra" / "board.html")
    make_reference.write_reference(source / "reference")


def shown(path: Path) -> str:
    """A notebook as the site shows it: pictures with a description in place of widgets, and no path of this machine."""
    content: Any = nbformat.read(path, as_version=4)
    keep_static(content)
    for cell in content.cells:
        for output in cell.get("outputs", ()):
            title = _TITLE.search(output.get("data", {}).get("image/svg+xml", ""))
            alt = f"chart: {title.group(1)}" if title else "output of the cell above"
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
    run_dir = content.metadata.get("papermill", {}).get("parameters", {}).get("run_dir", "")
    text: str = nbformat.writes(content)
    return text.replace(run_dir, f"runs/{Path(run_dir).name}") if run_dir else text


def _drawn(mermaid: re.Match[str]) -> str:
    return f'<div class="scroll" tabindex="0">{draw(mermaid.group(1), "Which module imports which")}</div>\n'


def main() -> int:
    """Build the site and print where it is; the exit code is that of Sphinx."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a run's folder")
    parser.add_argument("--executed-only", action="store_true", help="show other notebooks without outputs")
    parser.add_argument("--out", type=Path, default=OUT, help="a folder (default: docs/_build)")
    options = parser.parse_args()
    from sphinx.cmd.build import main as sphinx

    usual = USUAL_RUN if (USUAL_RUN / "index.html").exists() else None
    small = options.out / "smoke-shapes"
    run = options.run or usual or small_run(small)
    source, html = options.out / "source", options.out / "html"
    shutil.rmtree(source, ignore_errors=True)
    notebooks = executed(run)
    if not options.executed_only:
        if not {path.name for path in find_notebooks(NOTEBOOKS, EXPERIMENTS)} <= notebooks.keys():
            notebooks = executed(small_run(small)) | notebooks  # experiments need a run, and few images or a long time
        notebooks |= execute_others(notebooks, options.out / "others")
    gather(source, run, notebooks)
    # In one process: with several, Sphinx waited forever for one that had failed.
    code = sphinx(["-W", "--keep-going", "-q", str(source), str(html)])
    if code == 0:
        print(html / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
