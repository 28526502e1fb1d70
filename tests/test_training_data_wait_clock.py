import time

import pytest
import torch

from training.data.wait_clock import WaitClock, advice


def test_only_what_is_waited_for_counts() -> None:
    clock = WaitClock(torch.device("cpu"))
    start = time.perf_counter()
    with clock.waiting():
        time.sleep(0.05)
    inside = time.perf_counter() - start
    time.sleep(0.05)
    assert 0.05 <= clock.take_seconds() <= inside
    assert clock.take_seconds() == 0


@pytest.mark.gpu
def test_a_gpu_that_is_still_busy_does_not_wait() -> None:
    clock, busy = WaitClock(torch.device("cuda")), torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with clock.waiting():
        time.sleep(0.2)
    torch.cuda.synchronize()
    assert clock.take_seconds() == pytest.approx(0.2, rel=0.2)
    for _ in range(1000):
        busy @ busy
    with clock.waiting():
        time.sleep(0.05)
    torch.cuda.synchronize()
    assert clock.take_seconds() < 0.01


def test_the_advice_depends_on_whether_there_are_idle_cores() -> None:
    assert "raise data.num_workers from 2 to 8" in advice(0.2, 2, 8)
    assert "data.num_workers=8 uses all 8 cores" in advice(0.2, 8, 8)
