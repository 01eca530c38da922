"""The handout: the anchor board of a run as one HTML file that needs neither a network nor Python."""

from anchorkit.pages.handout.game import score_codes
from anchorkit.pages.handout.page import handout, open_run, save_handout, write_handout

__all__ = ["handout", "open_run", "save_handout", "score_codes", "write_handout"]
