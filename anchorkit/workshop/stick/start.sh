#!/bin/sh
# Opens the lessons in JupyterLab.
unset PYTHONPATH
cd "$(dirname "$0")" && exec .venv/bin/python -m anchorkit lab lessons
