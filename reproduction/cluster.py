"""What differs between SLURM clusters: reproduction/cluster.yaml."""

from pathlib import Path

from pydantic import Field

from reproduction.checked_yaml import load_checked
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
        UserError: the file is missing, is not YAML, or has a wrong key or value.
    """
    return load_checked(file, Cluster, nodes=nodes, processes_per_node=processes_per_node)
