"""Speed and memory, beside timm's models and the reference package; equality with the latter is shown in parity."""
