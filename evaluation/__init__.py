"""Evaluation: scores over a data set, which models are evaluated, ImageNet's test sets, and tables of results."""
