"""Dilated Convolution with Learnable Spacings: the layer library. Needs torch, and Triton where that comes with it."""

from dcls.conv import Dcls1d, Dcls2d, Dcls3d, DclsNd
from dcls.conversion import Conversion, convert
from dcls.interpolation import INTERPOLATIONS, Interpolation
from dcls.joint_construction import construct_alone, construct_together
from dcls.kernel import construct_kernel
from dcls.optim import clamp_positions, param_groups, position_names, position_owners, register_clamp_hook
from dcls.positions import SharedPositions, share_positions
from dcls.regularization import repulsive_loss
from dcls.reparameterization import reparameterize

__all__ = [
    "INTERPOLATIONS",
    "Conversion",
    "Dcls1d",
    "Dcls2d",
    "Dcls3d",
    "DclsNd",
    "Interpolation",
    "SharedPositions",
    "clamp_positions",
    "construct_alone",
    "construct_kernel",
    "construct_together",
    "convert",
    "param_groups",
    "position_names",
    "position_owners",
    "register_clamp_hook",
    "reparameterize",
    "repulsive_loss",
    "share_positions",
]
