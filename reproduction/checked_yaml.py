"""YAML files whose keys and values are checked against a schema."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from dcls.errors import UserError
from training.config import Section
from training.config_file import INVALID_YAML

Schema = TypeVar("Schema", bound=Section)


def load_checked(file: Path, schema: type[Schema], **replacing: Any) -> Schema:
    """Read a file.

    Args:
        replacing: Top-level keys that win over the file's, where they are not None.

    Raises:
        UserError: the file is missing, is not YAML, or has a key or value that the schema does not allow.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, *INVALID_YAML) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold keys", f"allowed are {', '.join(schema.model_fields)}")
    try:
        return schema.model_validate(content | {key: x for key, x in replacing.items() if x is not None})
    except ValidationError as error:
        raise UserError("\n".join(str(_explain(item, file)) for item in error.errors())) from None


def _explain(item: Any, file: Path) -> UserError:
    """Turn one of pydantic's errors into one that names the file and key."""
    place = [str(part) for part in item["loc"]]
    if item["type"] == "value_error":  # raised by the schema's validators
        error: UserError = item["ctx"]["error"]
        return error.replace(origin=str(file), key=".".join([*place, *([error.key] if error.key else [])]))
    return UserError(f"{item['msg']}, got {item['input']!r}", origin=str(file), key=".".join(place))
