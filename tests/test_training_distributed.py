import pytest
import torch

from dcls.errors import UserError
from training.distributed import DistributedContext


def test_processes_that_found_different_checkpoints_refuse_to_train() -> None:
    class WithOneAtTheStart(DistributedContext):
        def sum(self, values):
            return values  # the other process adds nothing: it starts at update 0

    distributed = WithOneAtTheStart(rank=0, world_size=2, device=torch.device("cpu"))
    with pytest.raises(UserError, match="not all processes found the same checkpoint in output/run"):
        distributed.check_equal(12, "output/run")
