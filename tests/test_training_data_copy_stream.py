import pytest
import torch

from training.data.copy_stream import CopyStream


def test_without_a_gpu_batches_are_prepared_when_they_are_asked_for() -> None:
    calls = []

    def prepare(batch: int) -> torch.Tensor:
        calls.append(batch)
        return torch.tensor(batch)

    stream = CopyStream(torch.device("cpu"))
    for batch in range(3):
        assert stream.run(prepare, batch).item() == batch
        assert calls == list(range(batch + 1))


@pytest.mark.gpu
def test_the_current_stream_waits_for_the_batch() -> None:
    device = torch.device("cuda")
    stream = CopyStream(device)
    batches = [torch.full((64, 224, 224, 3), index, dtype=torch.uint8).pin_memory() for index in range(8)]
    sums = []
    for batch in batches:
        images = stream.run(lambda batch: batch.to(device, non_blocking=True).float() + 1, batch)
        torch.cuda._sleep(1_000_000)
        sums.append(images.mean())
        del images
    assert [value.item() for value in sums] == list(range(1, 9))
