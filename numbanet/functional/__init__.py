"""Every public function on tensors, one file per family; ``numbanet.nn.functional`` (PyTorch's ``F``) is this module.

Each file has the public function (documentation, checks) and right under it its autograd Function, forward then
backward.
"""

from numbanet.functional.activation import *  # noqa: F403
from numbanet.functional.arithmetic import *  # noqa: F403
from numbanet.functional.conv import *  # noqa: F403
from numbanet.functional.dropout import *  # noqa: F403
from numbanet.functional.indexing import *  # noqa: F403
from numbanet.functional.linear import *  # noqa: F403
from numbanet.functional.loss import *  # noqa: F403
from numbanet.functional.normalization import *  # noqa: F403
from numbanet.functional.pooling import *  # noqa: F403
from numbanet.functional.reduction import *  # noqa: F403
from numbanet.functional.shape import *  # noqa: F403
