import threading
import time
from contextlib import nullcontext

import pytest
import torch
import torch.distributed as dist
from processes import run_script

from dcls.errors import UserError
from training.processes.distributed import DistributedContext, init_distributed


def test_processes_that_found_different_checkpoints_refuse_to_train() -> None:
    class WithOneAtTheStart(DistributedContext):
        def sum(self, values):
            return values  # the other process adds nothing: it starts at update 0

    distributed = WithOneAtTheStart(rank=0, world_size=2, device=torch.device("cpu"))
    with pytest.raises(UserError, match="not all processes found the same checkpoint in output/run"):
        distributed.check_equal(12, "output/run")


@pytest.mark.parametrize("device", ["mps", "meta", "xla", "cpu:9x", "cuda:77", "", "hpu"])
def test_a_device_that_is_not_there_is_one_line(device) -> None:
    with pytest.raises(UserError, match="^training.device: ") as error:
        init_distributed(device)
    assert "\n" not in str(error.value)


def test_slurm_tasks_without_torchrun_all_say_so_and_leave_nothing(tiny_config, tmp_path) -> None:
    config = tiny_config()
    for task in ("0", "1"):
        result = run_script("train.py", "--config", config, SLURM_NTASKS="2", SLURM_PROCID=task)
        assert result.returncode == 1 and not (tmp_path / "output").exists()
        assert result.stderr.startswith(f"error: SLURM has started 2 tasks here (this is task {task})")
        assert "submit scripts/train.sbatch, or start one task a node and torchrun in it" in result.stderr


@pytest.mark.parametrize(
    "environment, is_refused",
    [
        (dict(SLURM_NTASKS="2"), True),
        (dict(SLURM_PROCID="1"), True),
        (dict(SLURM_NTASKS="1", SLURM_PROCID="0"), False),
        (dict(SLURM_NTASKS="2", SLURM_PROCID="1", RANK="0", WORLD_SIZE="1"), False),
    ],
    ids=str,
)
def test_lone_tasks_are_told_from_torchruns(monkeypatch, environment, is_refused) -> None:
    for name in ("SLURM_NTASKS", "SLURM_PROCID", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="SLURM has started") if is_refused else nullcontext():
        assert init_distributed("cpu").world_size == 1


def test_the_others_leave_after_the_first_process_or_without_it_when_it_does_not_come(monkeypatch) -> None:
    store = dist.HashStore()
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_store", lambda: store)
    first, second = (DistributedContext(rank, 2, torch.device("cpu")) for rank in (0, 1))
    leaving = threading.Thread(target=second.leave_after_main)
    leaving.start()
    leaving.join(0.3)
    assert leaving.is_alive()
    first.leave_after_main()
    leaving.join(20)
    assert not leaving.is_alive()
    store.delete_key("dcls/leaving/main")
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "5")
    begin = time.monotonic()
    second.leave_after_main()
    assert time.monotonic() - begin < 4, "not the 25 s of torchrun's default"
