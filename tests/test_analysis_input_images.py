import torch
from report_runs import report_run

from analysis.input_images import input_images
from analysis.run_data import read_run


def test_images_are_of_the_evaluation_split_as_the_model_takes_them(tmp_path) -> None:
    run = read_run(report_run(tmp_path, "some"), "some")
    images, what = input_images(run, run.load_model(), count=3)
    assert images.shape == (3, 3, 64, 64) and what == "3 images of its evaluation split, val"
    assert not torch.equal(images[0], images[1])


def test_without_the_data_there_is_noise_and_it_says_so(tmp_path) -> None:
    for override in ("data.dir=missing", "data.dataset=hfds/some/set"):
        run = read_run(report_run(tmp_path / override[:9], "some", overrides=[override]), "some")
        images, what = input_images(run, run.load_model(), count=2)
        assert images.shape == (2, 3, 64, 64) and what.startswith("2 images of noise, because")
