"""Making, converting, viewing, indexing, broadcasting and changing tensors."""

from __future__ import annotations

import numpy as np

from tests.bad_calls import Bad

HUGE = 2**62


def _leaf(lib):
    return lib.ones(2, 3, requires_grad=True)


BAD = [
    # making
    Bad("unequal rows", lambda lib: lib.tensor([[1, 2], [3]]), ValueError, r"equal lengths"),
    Bad("text", lambda lib: lib.tensor("abc"), (TypeError, ValueError), r"str"),
    Bad("a list of texts", lambda lib: lib.tensor(["a", "b"]), (TypeError, ValueError), r"tensor"),
    Bad("an object", lambda lib: lib.tensor(object()), (TypeError, RuntimeError), r"object"),
    Bad("an int beyond int64", lambda lib: lib.tensor([2**63]), (OverflowError, RuntimeError, ValueError), r"int64"),
    Bad("an integer leaf", lambda lib: lib.tensor([1, 2], requires_grad=True), RuntimeError, r"floating.*int64"),
    Bad("negative size", lambda lib: lib.zeros(2, -3), RuntimeError, r"negative.*\(2, -3\)"),
    Bad("float size", lambda lib: lib.zeros(2.5), TypeError, r"2\.5"),
    Bad("text as size", lambda lib: lib.ones("3"), TypeError, r"ints"),
    Bad("None as size", lambda lib: lib.empty(2, None), TypeError, r"ints"),
    Bad("NaN as size", lambda lib: lib.zeros(float("nan")), TypeError, r"nan"),
    Bad("too many elements", lambda lib: lib.empty(HUGE, 2), (RuntimeError, MemoryError, ValueError), r"dimension|\d"),
    Bad("more elements than int64 counts", lambda lib: lib.empty(HUGE, HUGE), (RuntimeError, ValueError), r"dimension|\d"),
    Bad("more bytes than there is memory", lambda lib: lib.zeros(HUGE // 16), (RuntimeError, MemoryError), r"\d"),
    Bad("a size beyond int64", lambda lib: lib.zeros(2**70), (RuntimeError, TypeError, OverflowError, ValueError), r"dimension|\d"),
    Bad("full of text", lambda lib: lib.full((2,), "x"), (TypeError, RuntimeError, ValueError), r"x|str"),
    Bad("unknown device", lambda lib: lib.zeros(2, device="tpu0"), RuntimeError, r"tpu"),
    Bad("unknown dtype", lambda lib: lib.zeros(2, dtype="float99"), TypeError, r"float99"),
    Bad("steps of zero", lambda lib: lib.arange(0, 5, 0), RuntimeError, r"arange.*0"),
    Bad("steps away from the end", lambda lib: lib.arange(0, 5, -1), RuntimeError, r"arange.*5.*-1"),
    Bad("negative number of steps", lambda lib: lib.linspace(0, 1, -2), (RuntimeError, ValueError), r"-2"),
    Bad("random ints from nothing", lambda lib: lib.randint(5, 5, (2,)), RuntimeError, r"randint.*5.*5"),
    Bad("negative random size", lambda lib: lib.rand(-1), RuntimeError, r"-1"),
    Bad("negative identity", lambda lib: lib.eye(-1), (RuntimeError, ValueError), r"-1|negative"),
    Bad("from_numpy of a list", lambda lib: lib.from_numpy([1, 2]), TypeError, r"list"),
    Bad("from_numpy of texts", lambda lib: lib.from_numpy(np.array(["a"])), TypeError, r"<U1|str"),
    Bad("from_numpy of objects", lambda lib: lib.from_numpy(np.array([None])), TypeError, r"object"),
    # converting
    Bad("numpy of a leaf", lambda lib: _leaf(lib).numpy(), RuntimeError, r"detach"),
    Bad("item of several", lambda lib: lib.ones(2).item(), RuntimeError, r"2 elements"),
    Bad("float of several", lambda lib: float(lib.ones(2, 3)), (RuntimeError, TypeError, ValueError), r"6 elements"),
    Bad("truth of several", lambda lib: bool(lib.ones(2)), RuntimeError, r"2 elements"),
    Bad("truth of none", lambda lib: bool(lib.ones(0)), RuntimeError, r"0 elements"),
    Bad("length of 0-d", lambda lib: len(lib.tensor(1.0)), TypeError, r"0-d"),
    Bad("iterating 0-d", lambda lib: list(lib.tensor(1.0)), TypeError, r"0-d"),
    Bad("a float as an index", lambda lib: [1, 2][lib.tensor(1.0)], TypeError, r"float|index"),
    Bad("to nothing known", lambda lib: lib.ones(2).to("nonsense"), (RuntimeError, TypeError), r"nonsense"),
    Bad("size of a dimension too far", lambda lib: lib.ones(2).size(3), IndexError, r"dim=3"),
    # viewing
    Bad("reshape to other count", lambda lib: lib.ones(2, 3).reshape(4, 2), RuntimeError, r"\(4, 2\).*6.*\(2, 3\)"),
    Bad("two unknown sizes", lambda lib: lib.ones(2, 3).reshape(-1, -1), RuntimeError, r"-1"),
    Bad("unknown size that does not divide", lambda lib: lib.ones(2, 3).reshape(4, -1), RuntimeError, r"4"),
    Bad("size -2", lambda lib: lib.ones(2, 3).view(-2, 3), RuntimeError, r"-2"),
    Bad("reshape whose product overflows", lambda lib: lib.ones(4).reshape(HUGE, 4), RuntimeError, r"\d"),
    Bad("reshape whose product overflows to the right count", lambda lib: lib.ones(4).reshape(2**33, 2**33), RuntimeError, r"\d"),
    Bad("unknown size of an empty tensor", lambda lib: lib.ones(0).reshape(-1, 0), RuntimeError, r"-1|0"),
    Bad("view across strides", lambda lib: lib.ones(2, 3).t().view(6), RuntimeError, r"view.*reshape"),
    Bad("permute too few", lambda lib: lib.ones(2, 3, 4).permute(0, 1), (RuntimeError, ValueError), r"permute"),
    Bad("permute twice the same", lambda lib: lib.ones(2, 3).permute(0, 0), RuntimeError, r"permute"),
    Bad("transpose too far", lambda lib: lib.ones(2, 3).transpose(0, 2), IndexError, r"dim=2"),
    Bad("t of three dimensions", lambda lib: lib.ones(2, 3, 4).t(), RuntimeError, r"3"),
    Bad("expand a size above 1", lambda lib: lib.ones(2, 3).expand(4, 3), RuntimeError, r"4"),
    Bad("expand to fewer dimensions", lambda lib: lib.ones(2, 3).expand(3), RuntimeError, r"\(2, 3\)|3"),
    Bad("unsqueeze too far", lambda lib: lib.ones(2).unsqueeze(3), IndexError, r"3"),
    Bad("squeeze too far", lambda lib: lib.ones(2).squeeze(1), IndexError, r"1"),
    Bad("narrow beyond the end", lambda lib: lib.ones(4).narrow(0, 2, 3), RuntimeError, r"2.*3|4"),
    Bad("split by nothing", lambda lib: lib.ones(4).split(-1), RuntimeError, r"-1"),
    Bad("split sizes that do not add up", lambda lib: lib.ones(4).split([1, 2]), RuntimeError, r"4"),
    Bad("no chunks", lambda lib: lib.ones(4).chunk(0), RuntimeError, r"chunk"),
    Bad("cat of nothing", lambda lib: lib.cat([]), (RuntimeError, ValueError), r"cat"),
    Bad("cat of other sizes", lambda lib: lib.cat([lib.ones(2, 3), lib.ones(2, 4)]), RuntimeError, r"3.*4"),
    Bad("stack of other shapes", lambda lib: lib.stack([lib.ones(2), lib.ones(3)]), RuntimeError, r"\(3,\).*\(2,\)"),
    Bad("negative repeats", lambda lib: lib.ones(2).repeat(-1), RuntimeError, r"-1"),
    Bad("too few repeats", lambda lib: lib.ones(2, 3).repeat(2), RuntimeError, r"repeat"),
    Bad("flip too far", lambda lib: lib.ones(2, 3).flip(2), IndexError, r"2"),
    # indexing
    Bad("index too far", lambda lib: lib.ones(2, 3)[2], IndexError, r"2"),
    Bad("index too far back", lambda lib: lib.ones(2, 3)[0, -4], IndexError, r"-4"),
    Bad("too many indices", lambda lib: lib.ones(2, 3)[0, 0, 0], IndexError, r"3|too many"),
    Bad("text as index", lambda lib: lib.ones(2)["a"], (TypeError, IndexError), r"str|ints"),
    Bad("float as index", lambda lib: lib.ones(2)[1.0], (TypeError, IndexError), r"float"),
    Bad("step back", lambda lib: lib.ones(4)[::-1], ValueError, r"-1"),
    Bad("mask of another shape", lambda lib: lib.ones(2, 3)[lib.ones(3, 3).bool()], IndexError, r"\(2, 3\)|3"),
    Bad("list index too far", lambda lib: lib.ones(2)[[0, 2]], IndexError, r"2"),
    Bad("assign another shape", lambda lib: lib.ones(2, 3).__setitem__(0, lib.ones(2)), RuntimeError, r"2|3"),
    Bad("assign out of range", lambda lib: lib.ones(2).__setitem__(5, 1.0), IndexError, r"5"),
    # broadcasting and matrix products
    Bad("add that does not broadcast", lambda lib: lib.ones(2, 3) + lib.ones(2), RuntimeError, r"\(2, 3\).*\(2,\)"),
    Bad("mul that does not broadcast", lambda lib: lib.ones(4, 1, 3) * lib.ones(2, 2), RuntimeError, r"2.*3|3.*2"),
    Bad("add a text", lambda lib: lib.ones(2) + "a", TypeError, r"str"),
    Bad("where that does not broadcast", lambda lib: lib.where(lib.ones(2).bool(), lib.ones(3), lib.ones(3)), RuntimeError, r"2.*3"),
    Bad("matmul of sizes that differ", lambda lib: lib.ones(2, 3) @ lib.ones(2, 3), RuntimeError, r"\(2, 3\)"),
    Bad("matmul of 0-d", lambda lib: lib.matmul(lib.tensor(1.0), lib.ones(2)), RuntimeError, r"0-d|\(\)"),
    Bad("matmul of dtypes that differ", lambda lib: lib.ones(2, 2) @ lib.ones(2, 2).double(), RuntimeError, r"float32.*float64"),
    Bad("matmul of batches that differ", lambda lib: lib.ones(2, 3, 4) @ lib.ones(3, 4, 5), RuntimeError, r"2.*3"),
    Bad("mm of three dimensions", lambda lib: lib.mm(lib.ones(1, 2, 2), lib.ones(2, 2)), RuntimeError, r"mm"),
    Bad("dot of matrices", lambda lib: lib.dot(lib.ones(2, 2), lib.ones(2, 2)), RuntimeError, r"dot"),
    Bad("clamp without bounds", lambda lib: lib.ones(2).clamp(), (RuntimeError, ValueError), r"clamp"),
    Bad("sum twice over one dimension", lambda lib: lib.ones(2, 3).sum((0, 0)), RuntimeError, r"twice"),
    Bad("sum too far", lambda lib: lib.ones(2, 3).sum(2), IndexError, r"dim=2"),
    Bad("maximum of nothing", lambda lib: lib.ones(0).max(), (RuntimeError, IndexError), r"max"),
    Bad("mean of ints", lambda lib: lib.tensor([1, 2]).mean(), RuntimeError, r"mean.*int64"),
    # in place
    Bad("a leaf in place", lambda lib: _leaf(lib).add_(1.0), RuntimeError, r"leaf"),
    Bad("a view of a leaf in place", lambda lib: _leaf(lib)[0].mul_(2.0), RuntimeError, r"leaf"),
    Bad("copy_ of another shape", lambda lib: lib.ones(3).copy_(lib.ones(2)), RuntimeError, r"2|3"),
    Bad("fill_ with a vector", lambda lib: lib.ones(3).fill_(lib.ones(2)), RuntimeError, r"2|fill_"),
    # graph
    Bad("ints that require gradients", lambda lib: lib.tensor([1]).requires_grad_(), RuntimeError, r"floating.*int64"),
    Bad("backward outside a graph", lambda lib: lib.tensor(1.0).backward(), RuntimeError, r"grad"),
    Bad("detached backward twice", lambda lib: lib.ones(2).detach().backward(lib.ones(2)), RuntimeError, r"grad"),
    Bad("hook outside a graph", lambda lib: lib.ones(2).register_hook(print), RuntimeError, r"require"),
]  # fmt: skip
