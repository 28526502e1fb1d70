"""Who may import whom: scripts -> reproduction -> evaluation -> training -> models -> dcls -> torch, never back."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ALLOWED = {
    "dcls": {"dcls"},
    "models": {"models", "dcls"},
    "training": {"training", "models", "dcls"},
    "evaluation": {"evaluation", "training", "models", "dcls"},
    "analysis": {"analysis", "training", "models", "dcls"},
    "reproduction": {"reproduction", "evaluation", "training", "dcls"},
    "parity": {"parity", "training", "models", "dcls"},
    "faults": {"faults", "dcls", "train", "evaluation", "training"},
    "benchmarks": {"benchmarks", "parity", "training", "models", "dcls"},
}
TESTED = ("dcls", "models", "training", "evaluation", "analysis", "reproduction")
TESTED_ELSEWHERE = {
    "dcls/depthwise/triton_kernels.py": "test_dcls_depthwise.py",  # runs over every backend
    "dcls/depthwise/triton_rows.py": "test_dcls_depthwise.py",
    "training/run.py": "test_train.py",  # what prepare puts together
    "scripts/_checkout.py": "test_reproduce.py",  # every script begins with it
}
OURS = {*ALLOWED, "train", "validate", "scripts", "tests"}


def imported_modules(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}


def imported(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(file)}


def test_every_package_is_known() -> None:
    assert {file.parent.name for file in REPOSITORY.glob("*/*.py")} - OURS == set()


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_downwards_only(package) -> None:
    for file in (REPOSITORY / package).rglob("*.py"):
        assert imported(file) & OURS <= ALLOWED[package], file


def test_what_a_user_runs_needs_neither_parity_nor_benchmarks_nor_faults() -> None:
    for file in (*REPOSITORY.glob("*.py"), *REPOSITORY.glob("scripts/*.py")):
        assert not imported(file) & {"parity", "benchmarks", "faults"}, file


def test_the_layer_library_needs_torch_alone() -> None:
    for file in (REPOSITORY / "dcls").rglob("*.py"):
        if file.parent.name == "checkpoints":
            continue
        others = imported(file) - {"dcls", "torch"} - sys.stdlib_module_names
        # Triton comes with torch where there are GPUs for it, and is imported when its kernels are first called.
        # Matplotlib is an extra, imported when a figure is drawn.
        lazily = {"triton_kernels.py": {"triton"}, "plot.py": {"matplotlib"}}
        assert others == lazily.get(file.name, set()), file
        assert not any(name.startswith("dcls.checkpoints") for name in imported_modules(file)), file


def test_checkpoints_are_read_with_torch_and_safetensors_alone() -> None:
    for file in (REPOSITORY / "dcls" / "checkpoints").glob("*.py"):
        assert imported(file) - {"dcls", "torch", "safetensors"} - sys.stdlib_module_names == set(), file


def test_models_are_relative_to_whatever_package_holds_them() -> None:
    for file in (REPOSITORY / "models").rglob("*.py"):
        assert "models" not in imported(file), file


def test_triton_need_not_be_installed() -> None:
    code = "import sys; sys.modules['triton'] = None; import dcls.depthwise.triton_rows as t; print(t.is_installed())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert result.stdout == "False\n"


def test_the_trainer_never_asks_whether_a_model_is_dcls() -> None:
    files = [*(REPOSITORY / "training").rglob("*.py"), REPOSITORY / "train.py"]
    users = [file.name for file in files if "dcls" in imported_modules(file)]
    # Parameter groups, step hook and penalty; what is drawn and logged of learned kernels.
    assert sorted(users) == ["objective.py", "optimization.py", "wandb_logger.py"]


def test_the_tests_of_a_module_are_where_its_name_says() -> None:
    modules = [file for package in TESTED for file in (REPOSITORY / package).rglob("*.py")]
    scripts = [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("scripts/*.py")]
    expected = {file: f"test_{'_'.join(file.relative_to(REPOSITORY).with_suffix('').parts)}.py" for file in modules}
    expected |= {file: f"test_{file.stem}.py" for file in scripts}
    elsewhere = {REPOSITORY / name: test for name, test in TESTED_ELSEWHERE.items()}
    assert all(file.is_file() and not (REPOSITORY / "tests" / expected[file]).exists() for file in elsewhere)
    for file, test in (expected | elsewhere).items():
        assert file.name == "__init__.py" or (REPOSITORY / "tests" / test).is_file(), f"{file} has no tests/{test}"
