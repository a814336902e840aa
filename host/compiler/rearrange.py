"""Parts for tensors that are not stored pixel by pixel.

A layer that reads or writes an arranged tensor computes all members of a stored result pixel at once. Its matrices
consist of blocks, one for each pair of a source member and a result member, so that those of a convolution are block
Toeplitz matrices.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.arrangement import Arrangement, Axis
from etchnet.host.compiler.parts import Operand, Output, Part, Region

__all__ = ["rearranged"]

_MOST_PIECES = 8
"""pieces of an axis beyond which an arrangement is not worth its passes"""


_Need = tuple[int, int]
"""a result member, and a tap"""
_Stored = tuple[int, int]
"""a stored source line, for stored result line 0, and a member of it"""


@dataclass(frozen=True)
class _Piece:
    """A range of stored result lines that need the same taps of the stored source. The same class serves columns.

    Attributes
    ----------
    start, stop
        The stored result lines.
    step
        Stored source lines from one stored result line to the next.
    members
        The result members that are inside the image in this range.
    source
        Where the source line of each result member and tap is stored.
    """

    start: int
    stop: int
    step: int
    members: tuple[int, ...]
    source: Mapping[_Need, _Stored]

    @property
    def taps(self) -> list[int]:
        """Offsets of the stored source lines that are read."""
        return sorted({line for line, _ in self.source.values()})


@dataclass(frozen=True)
class _Reading:
    """How a layer reads one axis of its source: result line Y needs source line Y * `stride` + t for each of `taps`."""

    result: Axis
    result_size: int
    stride: int
    taps: tuple[int, ...]
    source: Axis
    source_size: int

    def pieces(self) -> list[_Piece] | None:
        """Cut the stored result lines into pieces; None if they need too many."""
        ranges = [self.result.inside(member, self.result_size) for member in range(len(self.result.offsets))]
        edges = sorted({0, self.result.count, *itertools.chain(*ranges)})
        found: list[_Piece] = []
        for first, end in itertools.pairwise(edges):
            members = tuple(m for m, (a, b) in enumerate(ranges) if a <= first and end <= b)
            start = first
            while start < end:
                stop = end
                while (piece := self._piece(start, stop, members)) is None and stop > start + 1:
                    stop = self._longest(start, stop, members)
                if piece is None or len(found) == _MOST_PIECES:
                    return None
                found.append(piece)
                start = stop
        return found

    def _longest(self, start: int, stop: int, members: tuple[int, ...]) -> int:
        """Return the end of the longest piece from `start` that ends before `stop`, by bisection."""
        low, high = start + 1, stop
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._piece(start, middle, members) is None else (middle, high)
        return low

    def _piece(self, start: int, stop: int, members: tuple[int, ...]) -> _Piece | None:
        """Return the piece of a range of stored result lines, or None if they do not all need the same taps."""
        moved, step = self.stride * self.result.step, 1
        if stop - start > 1:
            step, rest = divmod(moved, self.source.step)
            if rest:
                return None
        needs = {(m, t): self.stride * self.result.offsets[m] + t for m in members for t in self.taps}
        options = {key: self._options(need, moved, step, start, stop) for key, need in needs.items()}
        # Where members need only the same member of the source, a depthwise layer stays one.
        own = {key: [option for option in found if option[1] == key[0]] for key, found in options.items()}
        covers = [_cover(choice) for choice in (own, options) if all(choice.values())]
        best = min(covers, key=lambda cover: len({line for line, _ in cover.values()}), default=None)
        return None if best is None else _Piece(start, stop, step, members, best)

    def _options(self, need: int, moved: int, step: int, start: int, stop: int) -> list[_Stored]:
        """Return where source line `need` + `moved` * i is stored for every result line i of a range.

        Each is (line, member): the member of stored line `line` + `step` * i. A stored line that does not exist gives
        the pad value, which is right only where the image has no such line either.
        """
        found = []
        if stop - start == 1:
            need, moved = need + moved * start, 0
        for member, offset in enumerate(self.source.offsets):
            line, rest = divmod(need - offset, self.source.step)
            if rest:
                continue
            if not moved:
                outside = not 0 <= need < self.source_size
                if outside or 0 <= line < self.source.count:
                    found.append((line - step * start, member))
                continue
            first = max(start, ceil_div(-need, moved))
            last = min(stop, ceil_div(self.source_size - need, moved)) - 1
            if first > last or (line + step * first >= 0 and line + step * last < self.source.count):
                found.append((line, member))
        return found


def _cover(options: Mapping[_Need, Sequence[_Stored]]) -> dict[_Need, _Stored]:
    """Choose one option for each need such that nearly the fewest stored lines are read."""
    chosen: dict[_Need, _Stored] = {}
    while missing := [need for need in options if need not in chosen]:
        # Always the line with most of what is still missing.
        lines = [line for need in missing for line, _ in options[need]]
        best = max(sorted(set(lines)), key=lines.count)
        chosen |= {need: option for need in missing for option in options[need] if option[0] == best}
    return chosen


def rearranged(
    part: Part,
    source_size: Sequence[int],
    result_size: Sequence[int],
    source: Arrangement,
    result: Arrangement,
) -> list[Part] | None:
    """Return the parts of a layer that reads a tensor in one arrangement and writes its result in another.

    Result members that are outside the image become the zero point of the result.

    Parameters
    ----------
    part
        The only part of the layer if both tensors were plain, with a single operand.
    source_size, result_size
        (height, width) of the images.

    Returns
    -------
    The parts; None if the layer cannot read `source` with few enough of them.
    """
    if source.is_plain(source_size) and result.is_plain(result_size):
        return [part]
    (operand,) = part.operands
    grid = [tuple(sorted({tap[axis] for tap in operand.taps})) for axis in (0, 1)]
    lines, columns = (
        _Reading(to, result_size[axis], operand.stride[axis], grid[axis], of, source_size[axis]).pieces()
        for axis, (to, of) in enumerate(((result.y, source.y), (result.x, source.x)))
    )
    if lines is None or columns is None:
        return None
    outputs: dict[tuple[bool, ...], Output] = {}
    parts = []
    for y, x in itertools.product(lines, columns):
        inside = tuple(
            a in y.members and b in x.members
            for a in range(len(result.y.offsets))
            for b in range(len(result.x.offsets))
        )
        if inside not in outputs:
            outputs[inside] = _output(part, inside)
        parts.append(
            dataclasses.replace(
                part,
                region=Region(y.start, x.start, y.stop - y.start, x.stop - x.start),
                channels=part.channels * result.members,
                operands=[_operand(operand, part.channels, y, x, source, result)],
                output=outputs[inside],
            )
        )
    return parts


def _output(part: Part, inside: Sequence[bool]) -> Output:
    """Return the requantisation of all members of a stored result pixel; those outside the image have no bias."""
    records = part.output.records
    if part.output.shared and all(inside):
        return part.output
    own = list(records) * (part.channels if part.output.shared else 1)
    none = [dataclasses.replace(record, bias=0) for record in own]
    return dataclasses.replace(part.output, records=[r for member in inside for r in (own if member else none)])


def _operand(
    operand: Operand, channels: int, y: _Piece, x: _Piece, source: Arrangement, result: Arrangement
) -> Operand:
    """Return what a layer reads of an arranged tensor, for result pixels in a piece of each axis."""
    index = {tuple(tap): number for number, tap in enumerate(operand.taps)}
    # Where all members are outside the image, a tap with zero weights sets the accumulators.
    taps = list(itertools.product(y.taps or [0], x.taps or [0]))
    blocks: list[list[tuple[int, int, int]]] = [[] for _ in taps]
    at = {tap: number for number, tap in enumerate(taps)}
    for ((a, ty), (line, a_in)), ((b, tx), (column, b_in)) in itertools.product(y.source.items(), x.source.items()):
        block = a_in * len(source.x.offsets) + b_in, a * len(result.x.offsets) + b, index[ty, tx]
        blocks[at[line, column]].append(block)
    size = operand.matrix(0).shape
    mask = np.ones(size, bool) if operand.mask is None else operand.mask

    def assemble(values: np.ndarray, of: Sequence[tuple[int, int, int]], *, tap: int | None) -> np.ndarray:
        for block_in, block_out, index in of:
            rows, columns = slice(block_in * size[0], None), slice(block_out * channels, None)
            block = mask if tap is None else operand.matrix(index)
            values[rows, columns][: size[0], :channels] = block
        return values

    whole = source.members * size[0], result.members * channels

    @functools.cache
    def tap_mask(tap: int) -> np.ndarray:
        return assemble(np.zeros(whole, bool), blocks[tap], tap=None)

    union = functools.reduce(np.logical_or, (tap_mask(tap) for tap in range(len(taps))))
    return Operand(
        operand.source,
        taps,
        (y.step, x.step),
        lambda tap: assemble(np.zeros(whole, np.int8), blocks[tap], tap=tap),
        mask=union,
        image_taps=list(
            itertools.product(
                _image_offsets(y, operand.stride[0], source.y, result.y),
                _image_offsets(x, operand.stride[1], source.x, result.x),
            )
        ),
        tap_mask=tap_mask,
        pad=operand.pad,
        window=_window(operand, y, x, source, result),
    )


def _image_offsets(piece: _Piece, stride: int, source: Axis, result: Axis) -> list[int]:
    """Return where the first member of each stored tap of a piece is in the image; see `Operand.image_taps`."""
    line = result.step * piece.start + result.offsets[piece.members[0] if piece.members else 0]
    first = source.step * piece.step * piece.start + source.offsets[0] - stride * line
    return [source.step * tap + first for tap in piece.taps or [0]]


def _window(operand: Operand, y: _Piece, x: _Piece, source: Arrangement, result: Arrangement) -> np.ndarray | None:
    """Return the weights of a depthwise layer in which no result member needs another source member, else None."""
    if operand.window is None or source.members != result.members:
        return None
    for axis in (y, x):
        taps = sorted({tap for _, tap in axis.source})
        if axis.taps != list(range(axis.taps[0], axis.taps[0] + len(taps)) if taps else []):
            return None
        line = dict(zip(taps, axis.taps, strict=True))
        if any(found != (line[tap], member) for (member, tap), found in axis.source.items()):
            return None
    window = operand.window
    inside = itertools.product(range(len(result.y.offsets)), range(len(result.x.offsets)))
    return np.concatenate([window * (a in y.members and b in x.members) for a, b in inside], axis=2)
