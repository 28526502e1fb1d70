"""Evaluation of the audio models: clips and their labels, the front end, and mean average precision."""
