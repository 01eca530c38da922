from __future__ import annotations

import altair as alt
import pandas as pd

from anchorkit.plots.picking import pick_channels, with_picks
from anchorkit.widgets.picture import Picture

AWKWARD = ["L0/16x16", 'a "quoted" & <odd> name', "50 % é"]


def chart() -> alt.Chart:
    rows = pd.DataFrame({"x": [1, 2, 3]})
    data = with_picks(rows, pd.Series(AWKWARD), pd.Series([f"{name}\nsecond line" for name in AWKWARD]))
    made: alt.Chart = alt.Chart(data).mark_circle().encode(x="x:Q", **pick_channels())
    return made


def test_marks_of_the_chart_can_be_picked_and_lead_nowhere() -> None:
    picture = Picture("a test")
    picture.draw(chart())
    assert picture.svg.count("data-pick=") == 3
    assert "href" not in picture.svg.replace("xmlns:xlink", "")
    assert 'data-pick="L0/16x16"' in picture.svg
    assert "&quot;quoted&quot; &amp; &lt;odd&gt; name" in picture.svg
    assert 'data-pick="50 % é"' in picture.svg


def test_what_the_browser_sends_arrives_as_a_pick() -> None:
    seen: list[tuple[str, bool]] = []
    picture = Picture("a test", lambda what, extend: seen.append((what, extend)))
    picture._message(picture, {"pick": "a", "extend": True}, [])
    picture._message(picture, {"pick": "b"}, [])
    picture.pick("c")
    assert seen == [("a", True), ("b", False), ("c", False)]


def test_what_is_no_pick_is_left_alone() -> None:
    seen: list[str] = []
    picture = Picture("a test", lambda what, _: seen.append(what))
    for content in (None, {}, {"pick": 3}, {"copy": "x"}, "pick"):
        picture._message(picture, content, [])
    assert seen == []
    Picture("no one listens").pick("a")


def test_text_goes_to_the_clipboard_of_the_browser() -> None:
    picture, sent = Picture("a test"), []
    picture.send = lambda content, buffers=None: sent.append(content)  # type: ignore[method-assign]
    picture.copy("some text")
    assert sent == [{"copy": "some text"}]


def test_the_script_loads_nothing_from_elsewhere() -> None:
    script = str(Picture._esm)
    assert "export default" in script
    assert "import " not in script.replace("important", "")
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")
