"""The HTML pages of a run: pages of the results, of the answers and of the executed notebooks."""
