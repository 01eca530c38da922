@echo off
rem Opens the lessons in JupyterLab.
set PYTHONPATH=
cd /d "%~dp0"
.venv\Scripts\python -m anchorkit lab lessons
