"""Which clips there are and which labels they have: class folders, a table of files, or AudioSet's tables."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcls.errors import UserError
from evaluation.audio.class_labels import CLASS_FILE, ClassLabels, read_class_labels
from evaluation.audio.clip_table import ClipTable, TableClip, malformed, read_clip_table
from training.data.image_files import is_hidden, is_image_name, printable, walk
from training.data.natural_order import by_number_and_name

TABLE = "clips.csv"
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff"})
"""Suffixes of sound files."""
SPECTROGRAMS = frozenset({".npy", ".pt"})
"""Suffixes of log-mel spectrograms."""


@dataclass(frozen=True)
class Clips:
    """Clips and their labels.

    Attributes:
        paths: Their files.
        labels: Outputs of the model that are right for each, in the order of ``paths``.
        classes: Names of all outputs.
        class_file: Where these names are from; None where they are only those that occur.
        notes: What was left out.
    """

    paths: list[Path]
    labels: list[list[int]]
    classes: Sequence[str]
    class_file: Path | None
    notes: list[str] = field(default_factory=list)


def is_audio(source: Path) -> bool:
    """Whether a path is a table of clips, or a folder that has one or whose first known file is a clip."""
    if source.suffix == ".csv" or (source / TABLE).is_file():
        return True
    for _, _, _, files in walk(str(source)) if source.is_dir() else ():
        for name in sorted(files):
            if _is_clip(name) or is_image_name(name):
                return _is_clip(name)
    return False


def list_clips(source: Path) -> Clips:
    """List the clips of a table, or of a folder with a table (clips.csv) or with one folder a class.

    Raises:
        UserError: it holds no clips, or a file or label is missing or not known.
    """
    if source.suffix == ".csv" or (source / TABLE).is_file():
        table = source if source.suffix == ".csv" else source / TABLE
        return _clips_of_table(table)
    return _clips_of_folders(source)


def _clips_of_table(file: Path) -> Clips:
    table, labels = read_clip_table(file), _class_labels(file.parent)
    known = labels or _labels_of(table)
    paths, outputs, absent = [], [], []
    for clip, path in zip(table.clips, _files(file, table), strict=True):
        if path is None:
            absent.append(clip.names[0])
            continue
        paths.append(path)
        outputs.append([_output(file, clip, label, known) for label in dict.fromkeys(clip.labels)])
    if not paths:
        fix = "name their files by video: YTID.wav, YTID.npy or YTID_START.wav"
        raise malformed(file, f"none of its {len(table.clips)} clips is in {_folder_of(file)}", fix)
    notes = [f"{file}: {len(absent)} of {len(table.clips)} clips have no file, such as {absent[0]}"] if absent else []
    return Clips(paths, outputs, known.names, file.parent / CLASS_FILE if labels else None, notes)


def _clips_of_folders(folder: Path) -> Clips:
    names = sorted((entry.name for entry in folder.iterdir() if entry.is_dir()), key=by_number_and_name)
    labels = _class_labels(folder)
    found = {name: _clips_in(folder / name) for name in names if not is_hidden(name)}
    found = {name: files for name, files in found.items() if files or not labels}
    if not any(found.values()):
        raise malformed(folder, "it holds no clips in folders", f"make a folder for each class, or a table {TABLE}")
    known = labels or ClassLabels(list(found), list(found))
    for name in found:
        if name not in known.index:
            raise malformed(folder, f"the folder {name!r} is no class of {CLASS_FILE}", "rename it")
    pairs = [(path, [known.index[name]]) for name, files in found.items() for path in files]
    paths, outputs = zip(*pairs, strict=True)
    return Clips(list(paths), list(outputs), known.names, folder / CLASS_FILE if labels else None)


def _class_labels(folder: Path) -> ClassLabels | None:
    return read_class_labels(folder / CLASS_FILE) if (folder / CLASS_FILE).exists() else None


def _labels_of(table: ClipTable) -> ClassLabels:
    """Return the labels that occur, which are all that is known."""
    names = sorted({label for clip in table.clips for label in clip.labels}, key=by_number_and_name)
    return ClassLabels(names, names)


def _output(file: Path, clip: TableClip, label: str, known: ClassLabels) -> int:
    if label not in known.index:
        problem = f"line {clip.line}: {label!r} is neither an id nor a name in {CLASS_FILE}"
        raise malformed(file, problem, "write ids, such as /m/09x0r, where names contain commas")
    return known.index[label]


def _files(file: Path, table: ClipTable) -> Iterator[Path | None]:
    """Yield the file of each clip; None where a clip of AudioSet is not there, as videos vanish.

    Raises:
        UserError: a file that a table names is not there, or no clip.
    """
    by_stem = _clips_by_stem(_folder_of(file)) if table.is_audioset else {}
    for clip in table.clips:
        if table.is_audioset:
            found = {path for name in clip.names for path in by_stem.get(name, [])}
            if len(found) > 1:
                both = " and ".join(map(str, sorted(found)[:2]))
                raise malformed(file, f"line {clip.line}: {both} are the same clip", "keep one of them")
            yield found.pop() if found else None
            continue
        path = file.parent / clip.names[0]
        if not path.is_file():
            raise malformed(file, f"line {clip.line}: no file {path}", "correct its path, relative to the table")
        if not _is_clip(path.name):
            kinds = " ".join(sorted(SOUNDS | SPECTROGRAMS))
            raise malformed(file, f"line {clip.line}: {path.name} is none of {kinds}", "convert it")
        yield path


def _folder_of(file: Path) -> Path:
    """Return where the clips of AudioSet's table are: a folder of the table's name if there is one, or its own."""
    named = file.with_suffix("")
    return named if named.is_dir() else file.parent


def _clips_by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _clips_in(folder):
        found.setdefault(path.stem, []).append(path)
    return found


def _clips_in(folder: Path) -> list[Path]:
    """Return the clips of a folder and its folders, in the order of their paths."""
    files = (Path(folder, parent, name) for parent, _, _, names in walk(str(folder)) for name in names)
    return sorted(path for path in files if _is_clip(path.name))


def _is_clip(name: str) -> bool:
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in SOUNDS | SPECTROGRAMS


def check_outputs(clips: Clips, num_outputs: int, source: Path) -> None:
    """Refuse a model whose outputs cannot be these classes.

    Raises:
        UserError: their numbers differ.
    """
    if len(clips.classes) == num_outputs:
        return
    where = printable(clips.class_file or source)
    fix = f"take weights for these classes, or --option num_classes={len(clips.classes)} if these are"
    if clips.class_file is None:
        tables = [path for path in source.glob("*.csv") if path.name != CLASS_FILE] if source.is_dir() else []
        fix = f"put {CLASS_FILE} beside them, which says which output is which class"
        fix = f"give --split {tables[0].name} if their labels are in that table" if tables else fix
    raise UserError(
        f"{where} names {len(clips.classes)} classes, and the model has {num_outputs} outputs",
        fix,
        key="model.num_classes",
        on_every_rank=True,
    )
