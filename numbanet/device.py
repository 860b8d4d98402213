# temporary alias while files move to numbanet.devices; removed before release
import sys
import types

from numbanet import devices as _d


class _Alias(types.ModuleType):
    def __getattr__(self, name):
        return getattr(_d, name)

    def __call__(self, *a, **k):
        return _d.Device(*a, **k)


sys.modules[__name__] = _Alias("numbanet.device")
