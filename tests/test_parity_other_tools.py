import torch

from parity import other_tools


def test_a_tool_is_held_to_the_outputs_of_the_network() -> None:
    ((name, version, trained, folded),) = other_tools.rows("torch.fx")
    assert (name, version) == ("torch.fx", f"torch {torch.__version__.split('+')[0]}")
    assert float(trained) < 1e-5 and float(folded) < 1e-5


def test_what_a_tool_does_wrong_is_seen(monkeypatch) -> None:
    def fails(model, images):
        raise RuntimeError("not\nhere")

    tools = {"half": ("no-such-package", lambda model, images: model(images) / 2), "failing": ("torch", fails)}
    monkeypatch.setattr(other_tools, "TOOLS", tools)
    half, failing = other_tools.rows()
    assert half == ["half", "no-such-package", "5.0e-01", "5.0e-01"]
    assert failing[2] == "RuntimeError: not here"
