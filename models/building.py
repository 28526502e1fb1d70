"""Build a model by its name, with messages for what timm would raise deep inside."""

import difflib
import re
from functools import partial
from typing import Any

import timm
from torch import nn

from dcls.errors import UserError

_error = partial(UserError, on_every_rank=True)


def create_model(name: str, **options: Any) -> nn.Module:
    """Build as ``timm.create_model`` does; options that are None are left to the model's defaults.

    Raises:
        UserError: no such architecture, an option it does not take or refuses, or no pretrained weights. Its key is
            that of the configuration: model.name, model.pretrained or model.options.
    """
    if not timm.is_model(name) and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else None
        raise _error(f"no architecture {name!r} in this project or timm", hint, key="model.name")
    if options.get("pretrained") and timm.is_model(name) and not timm.models.is_model_pretrained(name):
        problem = f"there are no pretrained weights for {name}"
        raise _error(problem, "give a checkpoint instead", key="model.pretrained")
    try:
        return timm.create_model(name, **options)
    except (OSError, RuntimeError) as error:  # no connection, no disk space, weights that do not fit
        if timm.is_model(name):
            if not options.get("pretrained"):
                raise
            raise _error(f"cannot load the weights of {name}: {error}", key="model.pretrained") from error
        raise _error(f"cannot read {name}: {error}", key="model.name") from error
    except (TypeError, ValueError, AssertionError, LookupError, AttributeError) as error:
        if options.get("pretrained") and isinstance(error, ValueError):
            raise _error(str(error), key="model.pretrained") from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            raise _error(f"{name} takes no such option", key=f"model.options.{unknown.group(1)}") from error
        reason = f"{type(error).__name__} {error}" if isinstance(error, LookupError) else error
        raise _error(f"{name} cannot be built: {reason}", key="model.options") from error
