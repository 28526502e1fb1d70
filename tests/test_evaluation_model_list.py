from evaluation.model_list import describe


def test_a_model_with_a_released_file_is_described_with_it() -> None:
    line = describe("convnext_tiny_dcls_gaussian")
    assert (line["kernel / elements"], line["interpolation"], line["parameters"]) == (
        "23x23 / 26",
        "gaussian",
        "28,586,536",
    )
    assert line["released file"].startswith("[convnext_dcls_gauss_tiny_1k_224_ema.pth](") and line["source"] != "-"


def test_a_model_without_one_has_dashes() -> None:
    line = describe("convnext_atto_dcls_bilinear")
    assert (line["released file"], line["reported"], line["source"]) == ("-", "-", "-")
    assert float(line["multiply-adds"].removesuffix(" G")) > 0.1
