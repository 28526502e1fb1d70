import pytest
import timm

import models  # noqa: F401


def test_unknown_interpolation_is_named() -> None:
    with pytest.raises(ValueError, match="unknown interpolation 'cubic'"):
        timm.create_model("convnext_atto_dcls_gaussian", interpolation="cubic")
