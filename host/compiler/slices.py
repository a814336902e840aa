"""Slices that need no passes: the layers after them read the larger tensor instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.fusion import Lowered
from etchnet.host.compiler.layout import channel_positions
from etchnet.host.compiler.parts import Addition, Operand, Part
from etchnet.host.network.layers import Shape, Slice
from etchnet.host.network.network import Network

__all__ = ["read_through_slices"]


def read_through_slices(network: Network, lowered: Lowered, config: Config) -> Lowered:
    """Return the lowered layers without the slices before which all their readers can read instead.

    A slice stays if it is an output, and if one of its readers is an addition or a reshape in place, has taps outside
    the slice, where it expects its pad value, or would have to read more words.
    """
    found = dict(lowered)
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Slice) or index in network.outputs:
            continue
        parts = found[index]
        assert not isinstance(parts, Addition)
        cut = parts[0].operands[0]
        if not _same_words(cut, config):
            continue
        # A reshape in place has no parts.
        readers = {reader: _through(found.get(reader), index, cut, layer.size) for reader in network.readers(index)}
        rewritten = {reader: through for reader, through in readers.items() if through is not None}
        if len(rewritten) == len(readers):
            found |= rewritten
            del found[index]
    return found


def _same_words(cut: Operand, config: Config) -> bool:
    """Return whether the channels of a slice are in no more words of the tensor before it than of its own result.

    `cut` is the operand of the slice.
    """
    assert cut.mask is not None
    before, after = cut.mask.shape
    positions = np.arange(before) if cut.source < 0 else channel_positions(before, config)
    read = np.unique(positions[cut.mask.any(axis=1)] // config.rows)
    return len(read) <= len(np.unique(channel_positions(after, config) // config.rows))


def _through(parts: Sequence[Part] | Addition | None, index: int, cut: Operand, shape: Shape) -> list[Part] | None:
    """Return the parts of a layer that reads slice `index`, of `shape`, by its operand `cut`; None if it cannot."""
    if parts is None or isinstance(parts, Addition):
        return None
    found = []
    for part in parts:
        mine = [operand for operand in part.operands if operand.source == index]
        if not all(_is_inside(part, operand, shape) for operand in mine):
            return None
        operands = [_composed(o, cut) if o.source == index else o for o in part.operands]
        found.append(dataclasses.replace(part, operands=operands))
    return found


def _is_inside(part: Part, operand: Operand, shape: Shape) -> bool:
    """Return whether no tap of an operand is outside its tensor."""
    region = part.region
    for axis, (first, count) in enumerate(((region.y, region.height), (region.x, region.width))):
        taps = [tap[axis] for tap in operand.taps]
        step = operand.stride[axis]
        if first * step + min(taps) < 0 or (first + count - 1) * step + max(taps) >= shape[axis]:
            return False
    return True


def _composed(operand: Operand, cut: Operand) -> Operand:
    """Return what reads, in the tensor before a slice, the values that `operand` reads of the slice."""
    (y, x), (step_y, step_x) = cut.taps[0], cut.stride
    assert cut.mask is not None
    chosen, channels = cut.mask.argmax(axis=0), len(cut.mask)
    every = np.array_equal(chosen, np.arange(channels))

    def moved(taps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(y + step_y * tap_y, x + step_x * tap_x) for tap_y, tap_x in taps]

    def placed(rows: np.ndarray) -> np.ndarray:
        """Put rows for the channels of the slice where these channels are in the tensor before it."""
        result = np.zeros((channels, rows.shape[1]), rows.dtype)
        result[chosen] = rows
        return result

    tap_mask = operand.tap_mask
    mask = np.ones(operand.matrix(0).shape, bool) if operand.mask is None and not every else operand.mask
    return dataclasses.replace(
        operand,
        source=cut.source,
        taps=moved(operand.taps),
        stride=(operand.stride[0] * step_y, operand.stride[1] * step_x),
        matrix=operand.matrix if every else lambda tap: placed(operand.matrix(tap)),
        mask=mask if every or mask is None else placed(mask),
        tap_mask=tap_mask if every or tap_mask is None else lambda tap: placed(tap_mask(tap)),
        window=operand.window if every and cut.stride == (1, 1) else None,
        image_taps=operand.image_taps and moved(operand.image_taps),
    )
