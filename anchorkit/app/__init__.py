"""The explorers as a page for people who do not write code, and JupyterLab on the lessons.

`serving` starts the servers; `pages` makes the page, which Voila shows by way of ``page.ipynb``.
"""
