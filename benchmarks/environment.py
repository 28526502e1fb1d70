"""On what a benchmark ran."""

from training.distributed import init_distributed
from training.run_folder import environment


def describe_environment() -> str:
    """Date, commit, versions and hardware, in one line."""
    facts = environment(init_distributed("cpu"))
    return (
        f"{facts['date'][:10]}, commit {(facts['commit'] or 'unknown')[:10]}, torch {facts['packages']['torch']}, "
        f"Python {facts['python']}, {facts['cores']} cores of {facts['processor']}"
    )
