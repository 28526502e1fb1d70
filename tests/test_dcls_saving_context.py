import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from dcls.saving_context import saving_context


def test_contexts_differ_from_each_other_and_from_none() -> None:
    assert saving_context() is None
    with saved_tensors_hooks(lambda x: x, lambda x: x):
        outer = saving_context()
        with saved_tensors_hooks(lambda x: x, lambda x: x):
            inner = saving_context()
        assert saving_context() is outer
    assert len({id(context) for context in (None, outer, inner)}) == 3
    assert saving_context() is None


def test_a_checkpointed_block_has_a_context_of_its_own() -> None:
    seen = []

    def block(x):
        seen.append(saving_context())
        return x.sin()

    checkpoint(block, torch.ones(1, requires_grad=True), use_reentrant=False)
    assert len(seen) == 1 and seen[0] is not None
