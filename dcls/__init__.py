"""Dilated Convolution with Learnable Spacings: the layer library. Needs torch, and Triton where that comes with it."""

from dcls import diagnostics, plot
from dcls.conv import Dcls1d, Dcls2d, Dcls3d, DclsNd
from dcls.conversion import Conversion, convert
from dcls.discretization import discretized
from dcls.interpolation import INTERPOLATIONS, Interpolation
from dcls.joint_construction import JointConstruction, register_joint_construction
from dcls.kernel import construct_kernel
from dcls.optim import clamp_positions, param_groups, position_names, position_owners, register_clamp_hook
from dcls.positions import SharedPositions, share_positions
from dcls.reference_package import from_reference
from dcls.regularization import repulsive_loss
from dcls.reparameterization import reparameterize
from dcls.spread_schedule import SpreadSchedule

__version__ = "0.1.0"

__all__ = [
    "INTERPOLATIONS",
    "Conversion",
    "Dcls1d",
    "Dcls2d",
    "Dcls3d",
    "DclsNd",
    "Interpolation",
    "JointConstruction",
    "SharedPositions",
    "SpreadSchedule",
    "clamp_positions",
    "construct_kernel",
    "convert",
    "diagnostics",
    "discretized",
    "from_reference",
    "param_groups",
    "plot",
    "position_names",
    "position_owners",
    "register_clamp_hook",
    "register_joint_construction",
    "reparameterize",
    "repulsive_loss",
    "share_positions",
]
