"""README, CONTRIBUTING and the site are true: Python runs, commands parse, files, names and targets exist.

In front of a block, an HTML comment may say ``test: skip (REASON)`` or ``test: needs MODULE``.
"""

import argparse
import doctest
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import timm
import torch
from conftest import REPOSITORY
from processes import run_script
from torch import nn

import dcls
import dcls.checkpoints
from dcls.errors import UserError
from training.config_file import load_config

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
MODULES_WITH_EXAMPLES = [
    ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
    for file in sorted((REPOSITORY / "dcls").rglob("*.py"))
    if ">>> " in file.read_text()
]
_BLOCK = re.compile(r"^(?:<!-- test: (?P<marker>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
_PATH = re.compile(
    r"`((?:benchmarks|configs|data|dcls|docs|evaluation|models|parity|reproduction|results|scripts|tests|training)/[\w./-]*)`"
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


class Block(NamedTuple):
    marker: str
    language: str
    code: str


def blocks(page: Path, *languages: str) -> list[Block]:
    found = [Block(m["marker"] or "", m["language"], m["code"]) for m in _BLOCK.finditer(page.read_text())]
    assert len(found) == len(re.findall(r"^```\w", page.read_text(), re.M)), "a block that the pattern does not see"
    return [block for block in found if block.language in languages]


def each_page(*languages: str) -> list:
    return [pytest.param(page, id=str(page.relative_to(REPOSITORY))) for page in PAGES if blocks(page, *languages)]


@pytest.mark.parametrize("page", each_page("python"))
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page one after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in blocks(page, "python"):
        kind, _, detail = block.marker.partition(" ")
        if (kind == "needs" and importlib.util.find_spec(detail) is None) or kind == "skip":
            continue
        exec(compile(block.code, page.name, "exec"), namespace)


@pytest.mark.parametrize("module", MODULES_WITH_EXAMPLES)
def test_examples_in_docstrings_run(module: str) -> None:
    names = {"dcls": dcls, "nn": nn, "timm": timm, "torch": torch}
    result = doctest.testmod(importlib.import_module(module), extraglobs=names)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("page", each_page("bash", "console"))
def test_commands_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for block in blocks(page, "bash", "console"):
        for command in [] if block.marker.startswith("skip") else commands(block.code):
            check_command(command, monkeypatch)


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command, without prompts, comments and continuations; variables are filled in."""
    variables = {"CONFIG": "configs/imagenet/convnext_tiny_dcls_gaussian.yaml"}
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for name, value in variables.items():
            words = [word.replace(f"${name}", value) for word in words]
        assignment = re.fullmatch(r"([A-Z_]+)=(.*)", words[0]) if words else None
        if assignment and len(words) == 1:
            variables[assignment[1]] = assignment[2]
        elif words:
            yield words


def check_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", Path("Makefile").read_text(), re.M), words
    elif program in ("git", "source", ".venv/bin/pre-commit"):
        pass
    elif program == "pip":
        check_pip(arguments)
    elif program == "bash":
        assert Path(arguments[0]).is_file(), words
    elif program == "sbatch":
        check_python(["train.py", *arguments[arguments.index("scripts/train.sbatch") + 1 :]], monkeypatch)
    elif program == "torchrun":
        check_python(arguments[next(i for i, word in enumerate(arguments) if word.endswith(".py")) :], monkeypatch)
    elif program in ("python", ".venv/bin/python"):
        check_python(arguments, monkeypatch)
    else:
        pytest.fail(f"a command that no test understands: {shlex.join(words)}")


def check_pip(arguments: list[str]) -> None:
    """Only extras that there are."""
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert arguments[0] == "install"
    for argument in arguments[1:]:
        for extra in re.findall(r"(?<=\[)\w+(?=\])", argument):
            assert re.search(rf"^{extra} = \[", project, re.M), argument


def check_python(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments[0] == "-m":
        module, *arguments = arguments[1:]
        if module == "pytest":
            files = [word.partition("::")[0] for word in arguments if word.startswith("tests/")]
            assert all(Path(file).is_file() for file in files), arguments
            return
    else:
        assert Path(arguments[0]).is_file(), arguments
        module, *arguments = arguments
    options = parsed(module.removesuffix(".py").replace("/", "."), arguments, monkeypatch)
    if module == "train.py":
        load_config(options.config, options.overrides)
    elif {"list", "--list", "--dry-run"} & set(arguments):  # needs no data and changes nothing
        assert run_script(module, *arguments).stdout


class _ParsedError(Exception):
    pass


def parsed(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What a script reads from its command line; it goes no farther than that."""

    def parse(parser: argparse.ArgumentParser, given: list[str] | None = None) -> argparse.Namespace:
        raise _ParsedError(parser.parse_known_args(arguments))

    imported = importlib.import_module(module)
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(_ParsedError) as caught:
            imported.main()
    options, unknown = caught.value.args[0]
    assert not unknown, f"{module} does not know {unknown}"
    return options


@pytest.mark.parametrize("page", each_page("text"))
def test_errors_are_those_that_are_printed(page: Path) -> None:
    for block in blocks(page, "text"):
        if block.code.startswith("error: command line: unknown key"):
            key = block.code.split()[5].rstrip(";")
            with pytest.raises(UserError) as caught:
                load_config("configs/quickstart.yaml", [f"{key}=1"])
            assert f"error: {caught.value}" == block.code.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_are_there(page: Path) -> None:
    text = page.read_text()
    missing = [path for path in _PATH.findall(text) if not (REPOSITORY / path).exists()]
    missing += [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing


def test_the_api_has_every_public_name() -> None:
    documented = set(re.findall(r"^::: (\S+)", (REPOSITORY / "docs/api.md").read_text(), re.M))
    public = {f"{module.__name__}.{name}" for module in (dcls, dcls.checkpoints) for name in module.__all__}
    assert documented == public


def test_the_tour_names_every_module_and_no_other() -> None:
    sections = re.split(r"^## ", (REPOSITORY / "docs/design/tour.md").read_text(), flags=re.M)[1:]
    packages = {file.parent.name for file in REPOSITORY.glob("*/*.py")} - {"tests"}
    assert {section.partition("\n")[0].partition(":")[0] for section in sections} == packages
    for section in sections:
        package = section.partition(":")[0].split()[0]
        files = {file.name for file in (REPOSITORY / package).rglob("*.py")} - {"__init__.py"}
        named = set(re.findall(r"`(\w+\.py)`", section))
        assert named == files, f"docs/design/tour.md, {package}: add {files - named}, remove {named - files}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_table_is_generated(page: Path) -> None:
    """What is between these comments is held to its source by test_reproduction_documents."""
    by_hand = re.sub(r"<!-- table: \S+ -->\n.*?<!-- end -->", "", page.read_text(), flags=re.S)
    assert not re.search(r"^\|[-:| ]+\|$", by_hand, re.M)


def test_readme_is_short() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 220 and len(text.split()) <= 1800
