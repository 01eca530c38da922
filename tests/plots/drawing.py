"""What every chart has to keep, and what is in one: its rows, its pixels."""

from __future__ import annotations

import io
import json
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from PIL import Image

from anchorkit.plots.frames import MAX_ROWS


def check_chart(chart: Any) -> dict[str, Any]:
    """Valid, the same after a round trip through JSON, small, and something is drawn. Returns its specification."""
    spec: dict[str, Any] = chart.to_dict()  # validates, which takes longer than all else here
    again = type(chart).from_json(json.dumps(spec), validate=False)
    assert again.to_dict(validate=False) == spec
    assert sum(len(rows) for rows in spec["datasets"].values()) <= MAX_ROWS
    picture = _picture(spec)
    assert min(picture.size) > 50
    assert np.asarray(picture.convert("L")).std() > 5  # something is drawn
    return spec


def values(chart: Any) -> list[dict[str, Any]]:
    """All rows of all data sets of a chart."""
    return [row for rows in chart.to_dict(validate=False)["datasets"].values() for row in rows]


def drawn(chart: Any) -> np.ndarray:
    """The pixels of a chart, without alpha."""
    return np.asarray(_picture(chart.to_dict(validate=False)).convert("RGB"))


def _picture(spec: dict[str, Any]) -> Image.Image:
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return Image.open(io.BytesIO(vl_convert.vegalite_to_png(spec, vl_version=version)))
