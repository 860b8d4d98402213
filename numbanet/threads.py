"""How many CPU threads kernels use, and by which of numba's threading layers.

An empty parallel loop costs 1 to 2 microseconds with OpenMP and a hundred times that with numba's own work queue, so
OpenMP is asked for first. OpenMP does not survive a fork: data loaders use threads.
"""

from __future__ import annotations

import importlib
import os
import warnings

import numba
from numba import config


def _prefer_openmp() -> None:
    """Put OpenMP first in numba's order, unless the user chose a layer or an order."""
    chosen = "NUMBA_THREADING_LAYER" in os.environ or "NUMBA_THREADING_LAYER_PRIORITY" in os.environ
    if not chosen and config.THREADING_LAYER == "default":
        config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


_SPINS = 2000  # some tens of microseconds: longer than from one kernel of a training step to the next


def _wait_briefly() -> None:
    """Load GNU's OpenMP with a short spin.

    Its idle threads spin for milliseconds by default, and a thread that spins on shared cores holds up the one it waits
    for: beside other work LeNet's training step took ten times as long. Whoever sets ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT`` decides; the environment is left as it was.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    os.environ["GOMP_SPINCOUNT"] = str(_SPINS)
    try:
        importlib.import_module("numba.np.ufunc.omppool")  # libgomp reads the setting when it is loaded
    except ImportError:
        pass  # no OpenMP here
    finally:
        del os.environ["GOMP_SPINCOUNT"]


_prefer_openmp()
_wait_briefly()


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in CPU kernels (results do not depend on it).

    Raises:
        ValueError: unless 1 <= n <= the number of threads numba was started with (``NUMBA_NUM_THREADS``, by default the
            number of cores).
    """
    most = config.NUMBA_NUM_THREADS
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: expected an int, got {n!r}")
    if not 1 <= n <= most:
        raise ValueError(f"set_num_threads: expected 1 to {most} (NUMBA_NUM_THREADS), got {n}")
    numba.set_num_threads(n)


def get_num_threads() -> int:
    """The number of threads that CPU kernels use."""
    return numba.get_num_threads()


def threading_layer() -> str:
    """The threading layer in use: "omp", "tbb" or "workqueue"; starts it if need be, and warns of the slow one."""
    try:
        return numba.threading_layer()
    except ValueError:  # nothing parallel has run yet
        numba.get_num_threads()
        from numba.np.ufunc import parallel

        parallel._launch_threads()
    layer = numba.threading_layer()
    if layer == "workqueue":
        warnings.warn(
            "numba found neither OpenMP nor TBB and uses its slow work queue; install libgomp (or pip install tbb)",
            stacklevel=2,
        )
    return layer
