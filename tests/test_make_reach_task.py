import tarfile

import make_reach_task as task
import numpy as np
import pytest
from PIL import Image
from processes import run_script

from dcls.errors import UserError

SMALL = {"train": 20, "val": 4}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        task.write_task(tmp_path / folder, seed, {"train": 2, "val": 1})
    one, same, other = ((tmp_path / folder / "train.tar").read_bytes() for folder in "abc")
    assert one == same != other
    with tarfile.open(tmp_path / "a" / "val.tar") as archive:
        names = archive.getnames()
        assert names == [f"{distance}-pixels/00000.png" for distance in task.DISTANCES]
        assert Image.open(archive.extractfile(names[0])).size == (task.WIDTH, task.HEIGHT)


@pytest.mark.parametrize("distance", task.DISTANCES)
def test_discs_are_apart_as_the_class_says_and_no_window_of_seven_cells_holds_both(distance) -> None:
    for seed in range(20):
        columns = task.draw_image(distance, np.random.default_rng(seed)).max(axis=0)
        (lit,) = np.nonzero(columns > 90)
        left, right = lit[lit < lit.mean()], lit[lit > lit.mean()]
        assert right.mean() - left.mean() == pytest.approx(distance, abs=1.5)
        assert right.min() // 8 - left.max() // 8 >= 7
        assert left.min() // 8 >= 6 and (task.WIDTH - 1 - right.max()) // 8 >= 6, "no window sees disc and border"


def test_all_classes_begin_at_any_place_in_a_cell() -> None:
    for distance in task.DISTANCES:
        assert distance % 8 == 0 == (task.WIDTH - 2 * task.BORDER - distance) % 8


def test_archives_are_written_whole_and_what_is_there_is_kept(tmp_path, monkeypatch) -> None:
    drawn, draw = [], task.draw_image

    def draw_some(*arguments) -> np.ndarray:
        drawn.append(arguments)
        if len(drawn) > 5:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(task, "draw_image", draw_some)
    with pytest.raises(KeyboardInterrupt):
        task.write_task(tmp_path / "reach", 0, {"train": 1, "val": 1})
    assert [file.name for file in (tmp_path / "reach").glob("*.tar")] == ["train.tar"]
    with pytest.raises(UserError, match=r"train.tar already exists; remove it or choose another folder"):
        task.write_task(tmp_path / "reach", 0, {"train": 1, "val": 1})
    with pytest.raises(UserError, match="a seed is not negative, got -1"):
        task.write_task(tmp_path / "other", -1)
    assert not (tmp_path / "other").exists()


def test_a_tiny_run(tmp_path) -> None:
    task.write_task(tmp_path / "reach", 0, SMALL)
    arguments = [f"data.dir={tmp_path / 'reach'}", f"checkpoint.dir={tmp_path}", "checkpoint.name=tiny"]
    dcls = "model.dcls={dilated_kernel_size: 23, kernel_count: 9, initial_positions: uniform, weight_std: 0.2}"
    short = ["schedule.epochs=1", "schedule.warmup_epochs=0", "data.num_workers=0", "training.device=cpu"]
    result = run_script("train.py", "--config", "configs/studies/reach.yaml", dcls, *arguments, *short)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "tiny" / "model.safetensors").is_file()
