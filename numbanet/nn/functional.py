"""``numbanet.functional`` under PyTorch's name: ``import numbanet.nn.functional as F``."""

from numbanet.functional import *  # noqa: F403
