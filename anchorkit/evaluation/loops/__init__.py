"""The compiled loops of the evaluator, and the tables of arrays that they read and write."""
