"""Which clips are found, with which labels."""

from pathlib import Path

import pytest
from audio_clips import CLASSES, write_class_file, write_clips

from dcls.errors import UserError
from evaluation.audio.clips import Clips, check_outputs, is_audio, list_clips

AUDIOSET = "# YTID, start_seconds, end_seconds, positive_labels\n"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(clips: Clips, folder: Path) -> dict[str, list[int]]:
    return {str(path.relative_to(folder)): labels for path, labels in zip(clips.paths, clips.labels, strict=True)}


def test_a_table_of_files(tmp_path) -> None:
    labels = write_clips(tmp_path)
    for source in (tmp_path, tmp_path / "clips.csv"):
        assert is_audio(source)
        clips = list_clips(source)
        assert found(clips, tmp_path) == labels
        assert list(clips.classes) == [f"Sound {index}, loud" for index in range(4)]
    (tmp_path / "class_labels_indices.csv").unlink()
    clips = list_clips(tmp_path)
    assert list(clips.classes) == ["/m/00", "/m/02", "/t/01"] and clips.class_file is None
    assert found(clips, tmp_path)["b/b.wav"] == [0, 1]


def test_links_are_followed_but_not_round_in_circles(tmp_path) -> None:
    for number in range(8):  # 8 ways round at every turn, so that 40 turns would never end
        (tmp_path / "clips" / "rain" / f"{number}").mkdir(parents=True)
        (tmp_path / "clips" / "rain" / f"{number}" / "up").symlink_to(tmp_path / "clips")
    assert not is_audio(tmp_path / "clips")
    touch(tmp_path / "elsewhere", "1.wav")
    (tmp_path / "clips" / "rain" / "linked").symlink_to(tmp_path / "elsewhere")
    assert is_audio(tmp_path / "clips")
    clips = list_clips(tmp_path / "clips")
    assert clips.paths and {path.name for path in clips.paths} == {"1.wav"}


def test_a_folder_for_each_class(tmp_path) -> None:
    touch(
        tmp_path,
        "rain/10.wav",
        "rain/more/2.npy",
        "dog2/a.FLAC",
        "dog10/b.mp3",
        "dog10/notes.txt",
        "rain/._10.wav",
        ".git/x.wav",
    )
    assert is_audio(tmp_path)
    clips = list_clips(tmp_path)
    assert list(clips.classes) == ["dog2", "dog10", "rain"]
    assert found(clips, tmp_path) == {
        "dog2/a.FLAC": [0],
        "dog10/b.mp3": [1],
        "rain/10.wav": [2],
        "rain/more/2.npy": [2],
    }


def test_class_folders_go_by_the_file_of_classes(tmp_path) -> None:
    touch(tmp_path, "Sound 2, loud/a.wav", "empty/notes.txt")
    write_class_file(tmp_path)
    clips = list_clips(tmp_path)
    assert clips.labels == [[2]] and len(clips.classes) == len(CLASSES)
    touch(tmp_path, "rain/b.wav")
    with pytest.raises(UserError, match=r"the folder 'rain' is no class of class_labels_indices.csv; rename it"):
        list_clips(tmp_path)


@pytest.mark.parametrize("where", ["eval_segments", ""])
def test_clips_of_audioset_go_by_video_and_time(tmp_path, where) -> None:
    write_class_file(tmp_path)
    rows = [
        '-a_b, 0.000, 10.000, "/m/00,/t/01"',
        'cd, 30.000, 40.000, "/m/02"',
        'ef, 0.000, 9.000, "/m/00"',
        'gh, 5.000, 15.000, "/m/00"',
    ]
    (tmp_path / "eval_segments.csv").write_text(AUDIOSET + "\n".join(rows))
    folder = tmp_path / where
    touch(folder, "Y-a_b.wav", "sub/cd_30000_40000.flac", "gh.npy")
    if where:
        touch(tmp_path, "train_segments/gh.wav")
    clips = list_clips(tmp_path / "eval_segments.csv")
    assert found(clips, folder) == {"Y-a_b.wav": [0, 1], "sub/cd_30000_40000.flac": [2], "gh.npy": [0]}
    assert clips.notes == [f"{tmp_path}/eval_segments.csv: 1 of 4 clips have no file, such as ef"]
    touch(folder, "gh_5.wav")
    with pytest.raises(UserError, match=r"line 5: .*gh.npy and .*gh_5.wav are the same clip; keep one of them"):
        list_clips(tmp_path / "eval_segments.csv")
    for path in clips.paths:
        path.unlink()
    (folder / "gh_5.wav").unlink()
    with pytest.raises(UserError, match=r"none of its 4 clips is in .*; name their files by video: YTID.wav"):
        list_clips(tmp_path / "eval_segments.csv")


@pytest.mark.parametrize(
    "row, message",
    [
        ("missing.wav,/m/00", r"line 9: no file .*/missing.wav; correct its path, relative to the table"),
        (",/m/00", r"line 9: no file"),
        ("b,/m/00", r"line 9: no file"),
        ("notes.txt,/m/00", r"line 9: notes.txt is none of \.aif .*\.wav; convert it"),
        ("z.wav,/m/99", r"line 9: '/m/99' is neither an id nor a name in class_labels_indices.csv; write ids"),
        ('z.wav,"Sound 1, loud"', r"line 9: 'Sound 1' is neither an id nor a name in .*; write ids, such as /m/09x0r, where names contain commas"),
    ],
)  # fmt: skip
def test_mistakes_in_a_table_are_named_by_their_line(tmp_path, row, message) -> None:
    write_clips(tmp_path)
    touch(tmp_path, "notes.txt", "z.wav")
    with (tmp_path / "clips.csv").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(UserError, match=f"data.dir: {tmp_path}/clips.csv: {message}") as error:
        list_clips(tmp_path)
    assert error.value.on_every_rank


def test_folders_of_images_or_of_nothing_are_not_audio(tmp_path, image_folder) -> None:
    assert not is_audio(image_folder)
    assert not is_audio(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert not is_audio(tmp_path / "empty")
    touch(tmp_path / "loose", "a.wav")
    assert is_audio(tmp_path / "loose")
    with pytest.raises(
        UserError, match=r"loose: it holds no clips in folders; make a folder for each class, or a table"
    ):
        list_clips(tmp_path / "loose")


def test_classes_that_are_not_the_models_are_refused(tmp_path) -> None:
    touch(tmp_path, "dog/a.wav", "rain/b.wav")
    clips = list_clips(tmp_path)
    check_outputs(clips, 2, tmp_path)
    with pytest.raises(
        UserError, match=r"names 2 classes, and the model has 527 outputs; put class_labels_indices.csv"
    ):
        check_outputs(clips, 527, tmp_path)
    touch(tmp_path, "eval_segments.csv")
    with pytest.raises(UserError, match=r"the model has 527 outputs; give --split eval_segments.csv if"):
        check_outputs(clips, 527, tmp_path)
    write_clips(tmp_path)
    with pytest.raises(UserError, match=r"indices.csv names 4 classes, and .* 527 outputs; .*--option num_classes=4"):
        check_outputs(list_clips(tmp_path), 527, tmp_path)
