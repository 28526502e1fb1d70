import timm

import dcls
from dcls.reference_package import VERSIONS
from models.released import RELEASES


def test_every_release_belongs_to_a_registered_model() -> None:
    assert len(RELEASES) == 12 and len({release.file for release in RELEASES}) == 12
    for release in RELEASES:
        assert timm.is_model(release.model) and release.url.startswith(
            f"https://zenodo.org/records/{release.record}/files/"
        )
    assert set(VERSIONS) <= set(dcls.INTERPOLATIONS)
