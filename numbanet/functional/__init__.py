"""Every public function on tensors, one file per family; ``numbanet.nn.functional`` (PyTorch's ``F``) is this module.

Each file has the public function (documentation, checks) and right under it its autograd Function, forward then
backward. Operators that autocast knows are offered here under its watch, and arguments under all of PyTorch's names for them,
which is why code above takes them from here.
"""

from numbanet.functional.activation import *
from numbanet.functional.arithmetic import *
from numbanet.functional.class_loss import *
from numbanet.functional.conv import *
from numbanet.functional.deform import *
from numbanet.functional.distance import *
from numbanet.functional.dropout import *
from numbanet.functional.einsum import *
from numbanet.functional.embedding import *
from numbanet.functional.fold import *
from numbanet.functional.grid_sample import *
from numbanet.functional.indexing import *
from numbanet.functional.interpolate import *
from numbanet.functional.keywords import accept_public as _accept_public
from numbanet.functional.linear import *
from numbanet.functional.loss import *
from numbanet.functional.margin_loss import *
from numbanet.functional.normalization import *
from numbanet.functional.pad import *
from numbanet.functional.pooling import *
from numbanet.functional.reduction import *
from numbanet.functional.shape import *
from numbanet.functional.sorting import *
from numbanet.precision import wrap_public as _wrap_public

_wrap_public(globals())
_accept_public(globals())
