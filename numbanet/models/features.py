"""Feature maps from within a network: what FCN, feature pyramids and detectors are built on.

    body = features(resnet18(), {"layer2": "fine", "layer4": "coarse"})
    maps = body(images)      # an ordered dictionary: "fine" (N, 128, H / 8, W / 8), "coarse" (N, 512, H / 32, W / 32)

Any module within any network will do, by the name that ``named_modules()`` gives it ("layer3.0.conv1", "4.1"). The network's
own forward runs, and stops as soon as it has computed what was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Self

from numbanet import nn
from numbanet.tensor import Tensor

__all__ = ["Features", "features"]


class _Enough(Exception):
    """All maps are there; what the network would still compute is not wanted."""

    def __init__(self, reader: Features) -> None:
        super().__init__()
        self.reader = reader


class Features(nn.Module):
    """A network that gives its inner maps; see :func:`features`.

    It is the network with another forward: the same children under the same names, so that state dicts fit both. Layers that
    come after the last map asked for never run; ``del net.fc`` takes them out of the state dict too.
    """

    def __init__(self, net: nn.Module, names: Mapping[str, str] | Iterable[str]) -> None:
        super().__init__()
        for kind in ("_parameters", "_buffers", "_not_saved", "_modules"):
            self.__dict__[kind] = net.__dict__[kind]
        self.__dict__["net"] = net  # not as a child, whose name would stand before all others
        self.names = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
        there = dict(net.named_modules())
        unknown = [name for name in self.names if not name or name not in there]
        if unknown or not self.names:
            top = ", ".join(name for name, _ in net.named_children())
            raise ValueError(
                f"features: {type(net).__name__} has no module {', '.join(map(repr, unknown))}; it has {top}"
                if unknown
                else f"features: name at least one module of {type(net).__name__}, such as one of {top}"
            )
        if len(set(self.names.values())) != len(self.names):
            raise ValueError(f"features: two maps of one name in {self.names}")

    def forward(self, *args: Any, **kwargs: Any) -> OrderedDict[str, Tensor]:
        found: dict[str, Any] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                found[name] = output
                if len(found) == len(self.names):
                    raise _Enough(self)

            return hook

        # The hooks are there during this call only: used by itself, the network knows nothing of them.
        handles = [self.net.get_submodule(name).register_forward_hook(keep(name)) for name in self.names]
        try:
            self.net(*args, **kwargs)
        except _Enough as stop:
            if stop.reader is not self:  # of a network around this one
                raise
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.names if name not in found]
        if missing:
            raise RuntimeError(f"features: {type(self.net).__name__} did not run {', '.join(missing)}")
        return OrderedDict((label, found[name]) for name, label in self.names.items())

    def train(self, mode: bool = True) -> Self:
        self.net.train(mode)
        self.training = mode
        return self

    def extra_repr(self) -> str:
        return ", ".join(name if name == label else f"{name} as {label}" for name, label in self.names.items())


def features(net: nn.Module, names: Mapping[str, str] | Iterable[str]) -> Features:
    """A module that gives the outputs of modules within ``net``.

    Args:
        net: any network.
        names: the modules' names in ``net.named_modules()``; or a mapping of these to the names that the maps shall have.
            A module that runs more than once gives its last output before all of them are there.

    Returns:
        A module from ``net``'s input to an ordered dictionary of maps, in the order of ``names``.

    Raises:
        ValueError: for a name that the network does not have, no name, or two maps of one name.
        RuntimeError: in forward, where the network did not run a module.

    Example:
        >>> import numbanet
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
        >>> [(name, tuple(map.shape)) for name, map in features(net, ["1"])(numbanet.rand(2, 1, 28, 28)).items()]
        [('1', (2, 4, 26, 26))]
    """
    return Features(net, names)
