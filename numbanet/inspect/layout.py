"""Places for the boxes and lines of a directed graph, layer by layer from top to bottom.

The steps are those of K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system structures"
(1981): every box gets a rank, below all that lead to it; lines that pass by a rank get a point there; the order within each rank
is chosen so that few lines cross; then everything moves sideways towards its neighbours as far as the order allows.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SPACE = 26.0  # between neighbours in a rank
LINE = 12.0  # width of a line that passes by


@dataclass
class Layout:
    """Where things are.

    Attributes:
        x, y: each box's middle.
        paths: for each line its points, from the middle of a box's lower side to the middle of another's upper side; in
            between, pairs of points where it passes a rank.
        width, height: of everything; the upper left corner is (0, 0).
    """

    x: dict[int, float]
    y: dict[int, float]
    paths: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def lay_out(
    sizes: Mapping[int, tuple[float, float]],
    lines: Sequence[tuple[int, int]],
    gaps: Mapping[int, float],
    margin: float,
) -> Layout:
    """Places for boxes and the lines between them.

    Args:
        sizes: width and height of each box; the boxes' numbers are in an order in which lines go forward.
        lines: pairs of boxes.
        gaps: for each box how much room it needs above, at least.
        margin: room on all sides.
    """
    ranks = _ranks(list(sizes), lines)
    rows: list[list[int]] = [[] for _ in range(max(ranks.values()) + 1)]
    widths = {box: size[0] for box, size in sizes.items()}
    above: dict[int, list[int]] = {box: [] for box in sizes}
    chains: dict[tuple[int, int], int] = {}  # (box, rank) -> the point where its line passes the rank
    for box in sizes:
        rows[ranks[box]].append(box)
    for tail, head in lines:
        at = tail
        for rank in range(ranks[tail] + 1, ranks[head]):
            if (tail, rank) not in chains:
                point = chains[tail, rank] = -1 - len(chains)
                widths[point], above[point] = LINE, [at]
                rows[rank].append(point)
            at = chains[tail, rank]
        above[head].append(at)
    below: dict[int, list[int]] = {at: [] for at in above}
    for at, froms in above.items():
        for one in froms:
            below[one].append(at)
    rows = _ordered(rows, above, below)
    x = _columns(rows, above, below, widths)

    left = min(x[at] - widths[at] / 2 for at in x) - margin
    x = {at: value - left for at, value in x.items()}
    y: dict[int, float] = {}
    spans, top = [], margin
    for row in rows:
        boxes = [at for at in row if at >= 0]
        top += max((gaps[box] for box in boxes), default=0.0)
        height = max(sizes[box][1] for box in boxes)
        y.update({box: top + height / 2 for box in boxes})
        spans.append((top, top + height))
        top += height
    paths = {}
    for tail, head in lines:
        path = [(x[tail], y[tail] + sizes[tail][1] / 2)]
        for rank in range(ranks[tail] + 1, ranks[head]):
            path += [(x[chains[tail, rank]], edge) for edge in spans[rank]]
        paths[tail, head] = [*path, (x[head], y[head] - sizes[head][1] / 2)]
    places = {box: x[box] for box in sizes}
    return Layout(places, y, paths, max(x[at] + widths[at] / 2 for at in x) + margin, top + margin)


def _ranks(boxes: list[int], lines: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Each box one below the lowest that leads to it; a box that nothing leads to right above what it leads to."""
    before: dict[int, list[int]] = {box: [] for box in boxes}
    after: dict[int, list[int]] = {box: [] for box in boxes}
    for tail, head in lines:
        before[head].append(tail)
        after[tail].append(head)
    ranks: dict[int, int] = {}
    for box in boxes:
        ranks[box] = max((ranks[one] + 1 for one in before[box]), default=0)
    for box in boxes:
        if not before[box] and after[box]:
            ranks[box] = min(ranks[one] for one in after[box]) - 1
    return ranks


def _ordered(rows: list[list[int]], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> list[list[int]]:
    """The rows reordered so that few lines cross: by the means of their neighbours' places, down and up in turn."""
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(12):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        for k in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            place = {at: i for i, at in enumerate(rows[k - 1 if down else k + 1])}
            near = above if down else below
            here = {at: i for i, at in enumerate(rows[k])}
            means = {
                at: sum(place[n] for n in near[at]) / len(near[at]) if near[at] else float(here[at]) for at in rows[k]
            }
            rows[k].sort(key=lambda at: means[at])
        count = _crossings(rows, below)
        if count < fewest:
            best, fewest = rows, count
    return best


def _crossings(rows: list[list[int]], below: Mapping[int, list[int]]) -> int:
    """How many pairs of lines cross between neighbouring rows."""
    count = 0
    for row, following in pairwise(rows):
        place = {at: i for i, at in enumerate(following)}
        seen: list[int] = []  # where the lines of those further left end, in order
        for at in row:
            ends = [place[n] for n in below[at]]
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _columns(
    rows: list[list[int]],
    above: Mapping[int, list[int]],
    below: Mapping[int, list[int]],
    widths: Mapping[int, float],
) -> dict[int, float]:
    """Places along the rows: everything moves to the middle of its neighbours, again and again, keeping order and distance."""
    x: dict[int, float] = {}
    for row in rows:
        at = 0.0
        for one in row:
            x[one] = at + widths[one] / 2
            at += widths[one] + SPACE
        for one in row:
            x[one] -= at / 2
    pull = {  # how much a line wants to be upright: most where it is the only way, least where ways part or meet
        (at, n): 8.0 if at < 0 and n < 0 else 4.0 if len(below[at]) == len(above[n]) == 1 else 1.0
        for at in below
        for n in below[at]
    }
    for sweep in range(120):
        down, moved = sweep % 2 == 0, 0.0
        for row in rows if down else reversed(rows):
            wishes, weights = [], []
            for one in row:
                near = [(n, pull[n, one]) for n in above[one]] if down or sweep > 40 else []
                near += [(n, pull[one, n]) for n in below[one]] if not down or sweep > 40 else []
                weight = sum(w for _, w in near)
                wishes.append(sum(x[n] * w for n, w in near) / weight if near else x[one])
                weights.append(weight or 0.1)
            places = _apart(wishes, weights, [widths[one] for one in row])
            moved = max(moved, *(abs(x[one] - place) for one, place in zip(row, places, strict=True)))
            x.update(zip(row, places, strict=True))
        if sweep > 40 and moved < 1.0:
            break
    _straighten(x, rows, above, below, widths)
    return x


def _straighten(
    x: dict[int, float],
    rows: list[list[int]],
    above: Mapping[int, list[int]],
    below: Mapping[int, list[int]],
    widths: Mapping[int, float],
) -> None:
    """Put what follows one another without a branch right below one another, where the neighbours leave room for it."""
    beside = {}  # the neighbours to the left and to the right
    for row in rows:
        for at, one in enumerate(row):
            beside[one] = row[at - 1] if at else None, row[at + 1] if at + 1 < len(row) else None
    for turn in (1, -1, 1):  # one chain moves out of another's way
        done: set[int] = set()
        for one in (one for row in rows for one in row[::turn]):
            chain = [one]
            while len(below[chain[-1]]) == 1 and len(above[below[chain[-1]][0]]) == 1:
                chain.append(below[chain[-1]][0])
            if one in done or len(chain) == 1:
                continue
            done.update(chain)
            low, high = float("-inf"), float("inf")
            for member in chain:
                left, right = beside[member]
                if left is not None:
                    low = max(low, x[left] + (widths[left] + widths[member]) / 2 + SPACE)
                if right is not None:
                    high = min(high, x[right] - (widths[right] + widths[member]) / 2 - SPACE)
            if low <= high + 1e-6:
                middle = min(max(sum(x[member] for member in chain) / len(chain), low), high)
                x.update(dict.fromkeys(chain, middle))


def _apart(wishes: list[float], weights: list[float], widths: list[float]) -> list[float]:
    """The places closest to the wishes, in weighted squares, at which boxes side by side keep their distance.

    Minus the room that the boxes before it take, places must only not fall: isotonic regression, by pooling neighbours that
    are in each other's way.
    """
    offsets, at = [], 0.0
    for k, width in enumerate(widths):
        at += width / 2 + (SPACE + widths[k - 1] / 2 if k else 0.0)
        offsets.append(at)
    pools: list[tuple[float, float, int]] = []  # (mean, weight, how many)
    for wish, weight, offset in zip(wishes, weights, offsets, strict=True):
        pools.append((wish - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, p, m), (b, q, n) = pools[-2:]
            pools[-2:] = [((a * p + b * q) / (p + q), p + q, m + n)]
    places = [mean for mean, _, count in pools for _ in range(count)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]
