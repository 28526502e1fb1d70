"""How autograd saves tensors at the moment, which tells whether a block's activations will be recomputed."""

import torch


def saving_context() -> object:
    """Return the innermost ``saved_tensors_hooks``, None where there is none; ``torch.compile`` cannot see them."""
    if torch.compiler.is_compiling():
        return None
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return None if hooks is None else hooks[0]
