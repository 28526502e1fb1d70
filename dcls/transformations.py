"""What PyTorch does with a computation besides running it, which our operators alone could not follow."""

import torch
from torch.autograd import forward_ad


def is_transformed() -> bool:
    """Return whether ``torch.func`` or forward-mode AD looks on.

    They need batching rules and forward derivatives, which PyTorch's own operators have and custom ones cannot have
    together with a derivative of any order.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def is_written_down() -> bool:
    """Return whether the computation is recorded for other tools, which know PyTorch's own operators only.

    That is under ``torch.jit.trace``, ``torch.export`` and both ONNX exporters.
    """
    return torch.jit.is_tracing() or torch.compiler.is_exporting()  # type: ignore[attr-defined]
