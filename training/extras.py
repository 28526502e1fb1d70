"""Packages that only some runs need: extras of the installation."""

from importlib.util import find_spec

from dcls.errors import UserError


def require_package(package: str, extra: str, key: str) -> None:
    """Check that a package is installed.

    Args:
        package: As it is imported.
        extra: The extra of pyproject.toml that brings it.
        key: The configuration key or flag that needs it.

    Raises:
        UserError: it is not.
    """
    if find_spec(package) is None:
        fix = f"install it with pip install --editable '.[{extra}]'"
        raise UserError(f"{package} is not installed", fix, key=key, on_every_rank=True)
