"""Equality: with the reference implementation (PyPI package ``dcls`` 0.1.1), and of all backends with float64.

Each of these prints a table, kept in parity/results:

    python -m parity.layers                         every class and interpolation: output and all gradients
    python -m parity.recipe                         five optimizer steps of a row of the paper
    python -m parity.released_checkpoints FOLDER    logits of every layout of released weights
    python -m parity.backend_accuracy               the depthwise convolution's backends against float64

How fast things are is measured in benchmarks.
"""
