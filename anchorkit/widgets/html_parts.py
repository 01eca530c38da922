"""Text beside the charts, on the same ground and in the same ink as they."""

from __future__ import annotations

from anchorkit.plots.theme import look


def text_style(size: int = 14) -> str:
    """Value of a ``style`` attribute: font, ground and ink.

    Args:
        size: of the letters, in pixels.
    """
    return f"font:{size}px/1.4 sans-serif;background:{look().ground};color:{look().ink};"


def block(content: str, size: int = 14, style: str = "") -> str:
    """HTML content on the charts' ground.

    Args:
        content: HTML; what comes from data has to be escaped.
        size: of the letters, in pixels.
        style: further CSS.
    """
    return f'<div style="{text_style(size)}{style}">{content}</div>'


def quiet(content: str) -> str:
    """HTML content in the colour of what matters less."""
    return f'<span style="color:{look().quiet}">{content}</span>'
