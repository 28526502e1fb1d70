"""What differs between SLURM clusters: reproduction/cluster.yaml."""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from dcls.errors import UserError
from training.config import Count, Section


class Cluster(Section):
    """How a run is placed on a cluster."""

    nodes: Count = 1
    """Nodes of a run."""
    processes_per_node: Count = 1
    """Training processes on a node, one for each GPU."""
    sbatch: dict[str, str | int] = Field(default={})
    """Further options of sbatch, under their long names."""


def load_cluster(file: Path, nodes: int | None = None, processes_per_node: int | None = None) -> Cluster:
    """Read a cluster's file.

    Args:
        nodes: Wins over the file.
        processes_per_node: Likewise.

    Raises:
        UserError: the file is missing, is not YAML, or says something that is not understood.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} must hold keys", "see reproduction/cluster.yaml")
    given = {"nodes": nodes, "processes_per_node": processes_per_node}
    try:
        return Cluster.model_validate(content | {key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        problems = [f"{file}: {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise UserError("\n".join(problems)) from None
