from importlib.metadata import version as version_of

from parity import other_tools


def test_a_tool_is_held_to_the_outputs_of_the_network() -> None:
    ((name, version, trained, folded),) = other_tools.rows("torch.fx")
    assert (name, version) == ("torch.fx", f"torch {version_of('torch')}")
    assert float(trained) < 1e-5 and float(folded) < 1e-5


def test_what_a_tool_does_wrong_is_seen(monkeypatch) -> None:
    def fails(model, images):
        raise RuntimeError("not\nhere")

    def damages(model, images):
        model.head.fc.weight.data.zero_()
        return model(images)

    tools = {"half": ("timm", lambda model, images: model(images) / 2), "failing": ("timm", fails)}
    tools |= {"damaging": ("timm", damages), "absent": ("no-such-package", fails)}
    monkeypatch.setattr(other_tools, "TOOLS", tools)
    half, failing, damaging, absent = other_tools.rows()
    assert half[2:] == ["5.0e-01", "5.0e-01"]
    assert failing[2] == "RuntimeError: not here"
    assert float(damaging[2]) > 0.1
    assert absent[2:] == ["not installed", "not installed"]
