"""The fault campaigns, in their small version."""

import pytest
import torch

from faults.__main__ import CAMPAIGNS


@pytest.mark.parametrize("name", [name for name, (_, small, _) in CAMPAIGNS.items() if small])
def test_nothing_goes_wrong(name, tmp_path) -> None:
    campaign, small, _ = CAMPAIGNS[name]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # runs are forks of this process
    try:
        tally = campaign(tmp_path, small)
    finally:
        torch.set_num_threads(threads)
    assert tally.tried >= small and not tally.wrong
