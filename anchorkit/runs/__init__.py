"""The files in a run's folder: one module per file or kind of file. Executes no notebooks."""

from anchorkit import modules_on_first_use

__all__ = ["answers", "compare", "detectors", "folder", "learning", "points", "results_table", "selection", "trainings"]

__getattr__ = modules_on_first_use(__name__)
