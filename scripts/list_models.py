#!/usr/bin/env python3
"""Print all models with DCLS layers as a Markdown table: size, released file and what is reported for it."""

import _checkout  # noqa: F401

from evaluation.model_list import models_table

if __name__ == "__main__":
    print(models_table())
