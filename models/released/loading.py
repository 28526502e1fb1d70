"""From a released file to a network's weights."""

from pathlib import Path

from torch import nn

from models.released.layout import to_network
from models.released.reading import read_released


def load_released(model: nn.Module, path: str | Path) -> None:
    """Load a released file into the network it belongs to.

    Args:
        model: A registered network; ``models.released.recognise(read_released(path))`` says which one fits.
        path: The file as it was downloaded.

    Raises:
        ValueError: the file cannot be read, or belongs to another network.
    """
    state = to_network(read_released(path), model)
    expected = model.state_dict()
    wrong = [name for name in {*state, *expected} if name not in state or name not in expected]
    wrong += [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if wrong:
        raise ValueError(
            f"{path} does not fit {type(model).__name__}: {len(wrong)} tensors, such as {sorted(wrong)[0]}"
        )
    model.load_state_dict(state)
