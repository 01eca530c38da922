@echo off
rem Windows: double-click, or install.bat FOLDER
where py >nul 2>nul && (set PYTHON=py -3) || (set PYTHON=python)
%PYTHON% "%~dp0install.py" %*
if errorlevel 1 echo It did not work. If there is no message above: install Python, see README.txt.
pause
