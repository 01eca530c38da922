"""Make one HTML file of the slides, with the pictures of a run: python docs/teaching/make_slides.py RUN slides.html

The text is in ``slides.md``: a heading of the second order begins a slide, ``figure: NAME | what it shows`` puts a
picture of the run's folder ``figures`` there, and a quotation is a note for the speaker. The file needs no network.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from html import escape
from pathlib import Path

from nbconvert.filters import markdown2html

from anchorkit.errors import InputError
from anchorkit.files import write_text
from anchorkit.pages.notebooks import page

HERE = Path(__file__).resolve().parent
_KINDS = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg"}
_NAV = """<nav aria-label="Slides">
<button type="button" data-key="ArrowLeft" aria-label="the slide before">&larr;</button>
<output></output>
<button type="button" data-key="ArrowRight" aria-label="the next slide">&rarr;</button>
<button type="button" data-key="n">Notes</button></nav>"""


def make_slides(run: Path, text: Path = HERE / "slides.md") -> str:
    """The page.

    Raises:
        InputError: a picture is missing in the run.
    """
    parts = re.split(r"^## ", text.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    body = "\n".join(_slide(f"## {part}", run / "figures") for part in parts)
    style, script = ((HERE / "deck" / name).read_text(encoding="utf-8") for name in ("deck.css", "deck.js"))
    title = parts[0].splitlines()[0]
    return page(title, f"<style>{style}</style>{body}{_NAV}<script>{script}</script>", "style.css")


def _slide(text: str, figures: Path) -> str:
    notes = "\n".join(re.findall(r"^> ?(.*)$", text, re.MULTILINE))
    shown = re.sub(r"^>.*\n?", "", text, flags=re.MULTILINE)
    shown = re.sub(
        r"^figure: (\S+) \| (.+)$", lambda found: _figure(figures / found[1], found[2]), shown, flags=re.MULTILINE
    )
    return f'<section class="slide">{markdown2html(shown)}<aside class="notes">{markdown2html(notes)}</aside></section>'


def _figure(path: Path, alt: str) -> str:
    if not path.is_file():
        raise InputError(f"{path}: missing; `anchorkit run` makes it, or take its line out of slides.md")
    data = base64.b64encode(path.read_bytes()).decode()
    source = f"data:{_KINDS[path.suffix]};base64,{data}"
    return f'<figure><div class="sheet"><img src="{source}" alt="{escape(alt)}"></div></figure>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run's folder, such as runs/quick-shapes")
    parser.add_argument("out", type=Path, help="the file to write, such as slides.html")
    asked = parser.parse_args()
    try:
        write_text(asked.out, make_slides(asked.run))
    except InputError as error:
        sys.exit(str(error))
    print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
