"""Every released checkpoint, where it is and what is reported for it."""

from dataclasses import dataclass

CONVNEXT_SOURCE = "README of K-H-Ismail/ConvNeXt-dcls"
AUDIO_SOURCE = "AudioSet mAP, table of K-H-Ismail/DCLS-Audio"


@dataclass(frozen=True)
class Release:
    """One file.

    Attributes:
        record: Its record at Zenodo.
        file: Its name there.
        model: The registered architecture it belongs to.
        reported: What is reported for it, n/a where nothing is.
        source: Source of that.
    """

    record: int
    file: str
    model: str
    reported: str = "n/a"
    source: str = "-"

    @property
    def url(self) -> str:
        """The address of the file."""
        return f"https://zenodo.org/records/{self.record}/files/{self.file}"


RELEASES = (
    Release(
        7112021,
        "convnext_dcls_tiny_1k_224_ema.pth",
        "convnext_tiny_dcls_bilinear_unnormalized",
        "82.5 % top-1",
        CONVNEXT_SOURCE,
    ),
    Release(
        7112021,
        "convnext_dcls_small_1k_224_ema.pth",
        "convnext_small_dcls_bilinear_unnormalized",
        "83.7 % top-1",
        CONVNEXT_SOURCE,
    ),
    Release(
        7112021,
        "convnext_dcls_base_1k_224_ema.pth",
        "convnext_base_dcls_bilinear_unnormalized",
        "84.1 % top-1",
        CONVNEXT_SOURCE,
    ),
    Release(
        8029747,
        "convnext_dcls_gauss_tiny_1k_224_ema.pth",
        "convnext_tiny_dcls_gaussian",
        "82.60 % top-1",
        "arXiv:2306.00817",
    ),
    Release(8370737, "convformer_s18_v1_17lim_40el_seed0.pth.tar", "convformer_s18_dcls_bilinear"),
    Release(8370737, "caformer_s18_v1_17lim_34el_seed0.pth.tar", "caformer_s18_dcls_bilinear"),
    Release(8370737, "fastvit_sa24_v1_17lim_34el_seed0.pth.tar", "fastvit_sa24_dcls_bilinear"),
    Release(8370737, "fastvit_sa36_v1_17lim_34el_seed0.pth.tar", "fastvit_sa36_dcls_bilinear"),
    Release(8373830, "resnet_dcls_kernel_5_model_best.pth.tar", "resnet50_dcls_bilinear_unnormalized"),
    Release(8370979, "convnext_dcls_audio_tiny.pth", "convnext_tiny_dcls_audio", "45.52 ± .05 mAP", AUDIO_SOURCE),
    Release(8370979, "convformer_dcls_audio_s18.pth", "convformer_s18_dcls_audio", "43.68 ± .02 mAP", AUDIO_SOURCE),
    Release(8370979, "fastvit_dcls_audio_sa24.pth", "fastvit_sa24_dcls_audio", "44.4 ± .07 mAP", AUDIO_SOURCE),
)


def release_of(model: str) -> Release | None:
    """Return the file that belongs to a registered architecture, or None."""
    return next((release for release in RELEASES if release.model == model), None)
