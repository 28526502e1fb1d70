"""Read a configuration: YAML file over its optional base, command line over both, every error with its origin."""

import difflib
import re
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dcls.errors import UserError
from training.config import Config, list_keys, section_types

Keys = tuple[str, ...]
# What PyYAML raises for texts that are no YAML, and for values that are not what their tag says.
INVALID_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_SECTIONS = {(name,) for name in section_types()}
_MAX_BYTES, _MAX_DEPTH, _MAX_VALUES = 2**20, 10, 10_000
_error = partial(UserError, on_every_rank=True)  # all processes of a run read the same configuration


class _Loader(yaml.SafeLoader):
    """YAML with the numbers of its version 1.2: PyYAML reads 4e-3 as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class _Settings:
    """Nested values and, for each key, where it was set last."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[Keys, str] = {}

    def set(self, keys: Keys, value: Any, origin: str) -> None:
        """Set one value; mappings are merged into what was there, anything else replaces it."""
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                self.set((*keys, str(key)), inner, origin)
            return
        target = self.values
        for depth, key in enumerate(keys[:-1], start=1):
            self.origins.setdefault(keys[:depth], origin)
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise _error(f"{'.'.join(keys[:depth])} is a value, not a group of keys", origin=origin)
        target[keys[-1]] = value
        self.origins[keys] = origin

    def origin(self, keys: Sequence[Any]) -> str:
        """Where the key, or the closest group of keys around it, was set."""
        for depth in range(len(keys), 0, -1):
            if tuple(keys[:depth]) in self.origins:
                return self.origins[tuple(keys[:depth])]
        return "configuration"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and check a configuration.

    Args:
        path: YAML file. Its key ``base`` may name another one, relative to it, which may not have a base itself.
        overrides: ``section.key=value``, values in YAML.

    Raises:
        UserError: a file is missing or not YAML; a key is unknown, missing, of the wrong type, out of range or in
            contradiction with another. The message names the key, where it was set, and the nearest valid key.
    """
    settings = _Settings()
    settings.values = {section: {} for section in section_types()}
    _read_file(Path(path), settings)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise _error(f"expected section.key=value, got {override!r}", origin="command line")
        settings.set(tuple(key.split(".")), _parse_value(text, key), "command line")
    try:
        return Config.model_validate(settings.values)
    except ValidationError as error:
        raise _one_of_all([_explain(item, settings) for item in error.errors()]) from None


def dump_config(config: Config) -> str:
    """YAML text of a resolved configuration, which ``load_config`` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def valid_keys() -> list[str]:
    """Every ``section.key``."""
    return [key for name, section in section_types().items() for key in list_keys(section, name)]


def _read_file(path: Path, settings: _Settings, *, is_base: bool = False) -> None:
    text = _text(path)
    try:
        root = _compose(text)
    except UserError as error:
        raise error.replace(origin=str(path)) from None
    except INVALID_YAML as error:
        raise _error(f"{path} is not valid YAML: {error}") from None
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise _error(f"{path} must hold sections (model:, data:, ...), not a single value")
    for key_node, value_node in root.value:
        if key_node.value == "base":
            if is_base:
                raise _error(
                    "a base may not have a base itself", "only one level is read", origin=f"{path}:{_line(key_node)}"
                )
            if not isinstance(value_node, yaml.ScalarNode):
                raise _error("base must be the name of one file", origin=f"{path}:{_line(key_node)}")
            try:
                _read_file(path.parent / value_node.value, settings, is_base=True)
            except UserError as error:
                if error.origin is not None:
                    raise
                raise error.replace(origin=f"{path}:{_line(key_node)}", key="base") from None
    _read_mapping(root, (), path, settings)


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _error(f"{path} is not a file", "name a YAML file")
        if status.st_size > _MAX_BYTES:
            raise _error(f"{path} has {status.st_size} bytes, which no configuration has")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise _error(f"no configuration file {path}") from None
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a name that holds a NUL, bytes that are not UTF-8
        raise _error(f"cannot read {str(path)!r:.200}: {error}") from None


def _compose(text: str) -> yaml.Node | None:
    """Parse YAML to its nodes.

    Raises:
        UserError: it is nested without end, or grows beyond bounds when its aliases are replaced.
    """
    root = yaml.compose(text, Loader=_Loader)
    pending, count = [] if root is None else [(root, 0)], 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if depth > _MAX_DEPTH:
            raise _error(f"values are nested more than {_MAX_DEPTH} deep", "no key needs that")
        if count > _MAX_VALUES:
            raise _error(f"more than {_MAX_VALUES} values", "no configuration needs them")
        if isinstance(node, yaml.MappingNode):
            pending += [(inner, depth + 1) for pair in node.value for inner in pair]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(inner, depth + 1) for inner in node.value]
    return root


def _read_mapping(node: yaml.MappingNode, parents: Keys, path: Path, settings: _Settings) -> None:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _error("a key must be a text", origin=f"{path}:{_line(key_node)}")
        key = str(key_node.value)
        if not parents and key == "base":
            continue
        keys, origin = (*parents, key), f"{path}:{_line(key_node)}"
        if key in seen:
            raise _error(f"duplicate key {'.'.join(keys)}", "remove one", origin=origin)
        seen.add(key)
        if isinstance(value_node, yaml.MappingNode):
            settings.origins[keys] = origin
            _read_mapping(value_node, keys, path, settings)
        elif keys in _SECTIONS and value_node.tag == "tag:yaml.org,2002:null":
            continue  # a section without keys
        else:
            try:
                value = _construct(value_node)
            except INVALID_YAML as error:
                raise _error(f"is not valid YAML: {error}", key=".".join(keys), origin=origin) from None
            settings.set(keys, value, origin)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _construct(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _parse_value(text: str, key: str) -> Any:
    try:
        root = _compose(text)
        return None if root is None else _construct(root)
    except UserError as error:
        raise error.replace(key=key, origin="command line") from None
    except INVALID_YAML as error:
        raise _error(f"the value of {key} is not valid YAML: {error}", origin="command line") from None


def _one_of_all(errors: list[UserError]) -> UserError:
    """Return the only error, or one that lists them all, a line each."""
    return errors[0] if len(errors) == 1 else _error("\n".join(map(str, errors)))


def _explain(item: Any, settings: _Settings) -> UserError:
    """Turn one of pydantic's errors into one that knows its key and where that was set."""
    keys = tuple(str(part) for part in item["loc"])
    name = ".".join(keys)
    if item["type"] == "extra_forbidden":
        return _error(f"unknown key {name}", _suggestion(name), origin=settings.origin(keys))
    if item["type"] == "missing":
        return _error(f"{name} is required", f"set it in the file or on the command line ({name}=...)")
    if item["type"] == "value_error":  # raised by the validators of training.config
        error = item["ctx"]["error"]
        key = error.key or name
        return error.replace(key=key, origin=settings.origin(key.split(".")), on_every_rank=True)
    return _error(f"{item['msg']}, got {_shown(item['input'])}", key=name, origin=settings.origin(keys))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _suggestion(name: str) -> str:
    """Return the valid key nearest to a wrong one; a key in the wrong section is recognized by its last part."""
    keys = valid_keys()
    if "." not in name:
        near = difflib.get_close_matches(name, [*section_types(), *(k.split(".")[-1] for k in keys)], n=1)
        if near and near[0] not in section_types():
            near = [key for key in keys if key.endswith("." + near[0])][:1]
    else:
        leaf = name.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(name, keys, n=1, cutoff=0.8)
        near = near or [key for key in keys if key.endswith("." + leaf)][:1]
        near = near or difflib.get_close_matches(name, keys, n=1)
    return f"did you mean {near[0]}?" if near else "train.py --help lists all keys"
