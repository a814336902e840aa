"""The functional model of a machine: its weight and parameter memories, and the results of programs that use them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
from amaranth.hdl import Shape
from threadpoolctl import LibController, ThreadpoolController

from etchnet.hdl.isa import Parameters, Pass, Target, TileKind, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import word_bits
from etchnet.hdl.isa.passes import is_stored
from etchnet.sim.functional.kernels import Kernels
from etchnet.sim.functional.plan import Plan

__all__ = ["Datapath", "channel_parameters"]

_BATCH_BYTES = 1 << 23
"""bytes of values that are computed at once, to stay in the caches"""
_BLAS_THREADS_FROM = 1 << 22
"""multiplications from which several BLAS threads gain more than they lose waiting for each other"""


@functools.cache
def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="etchnet")


@functools.cache
def _blas() -> list[LibController]:
    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    before = [library.num_threads for library in _blas()]
    for library in _blas():
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in zip(_blas(), before, strict=True):
            library.set_num_threads(threads)


class Datapath:
    """The weight and parameter memories of one machine, and its results for batches of inputs, independent of time.

    Repeats do not depend on each other: in each repeat, a checked program writes what it reads.

    Attributes
    ----------
    weights
        int8 (weight_words, weight_rows, columns).
    parameters
        Parameter words as link words, uint32 (parameter_words, chunks, link_bits / 32).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = word_bits(Target.PARAMETERS, config)
        self.weights = np.zeros((config.weight_words, config.weight_rows, config.columns), np.int8)
        self.parameters = np.zeros((config.parameter_words, chunks(bits, config), config.link_bits // 32), np.uint32)
        self._kernels: dict[int, tuple[Plan, Kernels]] = {}

    def changed(self) -> None:
        """Discard the kernels made so far; call it after writing weights or parameters."""
        self._kernels.clear()

    def tile(self, p: Pass) -> np.ndarray:
        """Return a copy of the weights of a pass as the array holds them: int8 (rows, columns)."""
        # Tiles that are not diagonal may be views of `weights`, which later packets change.
        tile: np.ndarray = self._tiles([p])[0].copy()
        return tile

    def _tiles(self, passes: Sequence[Pass]) -> np.ndarray:
        """Return the tiles of passes: int8 (passes, rows, columns)."""
        config = self.config
        rows, columns, band = config.rows, config.columns, config.load_cycles
        kinds, first = np.array([(p.kind, p.weights) for p in passes]).T
        whole = is_stored(kinds)
        if (np.diff(first) == band).all() and whole.all():
            stored = self.weights[first[0] : first[-1] + band].reshape(-1, band, config.weight_rows, columns)
        else:
            stored = self.weights[first[whole, None] + np.arange(band)]
        held: np.ndarray = stored.transpose(0, 2, 1, 3).reshape(-1, rows, columns)
        if whole.all():
            return held
        tiles = np.zeros((len(passes), rows, columns), np.int8)
        tiles[whole] = held
        diagonal = np.arange(min(rows, columns))
        tiles[np.flatnonzero(kinds == TileKind.IDENTITY)[:, None], diagonal, diagonal] = 1
        spread = np.flatnonzero(kinds == TileKind.DIAGONAL)
        tiles[spread[:, None], diagonal, diagonal] = self.weights[first[spread, None], diagonal // band, diagonal]
        return tiles

    def kernels(self, plan: Plan, passes: Sequence[Pass], tiles: Sequence[np.ndarray] | None = None) -> Kernels:
        """Return the kernels of a plan, with the current contents of the memories.

        Parameters
        ----------
        plan
            The plan of `passes`.
        passes
            All passes of the program.
        tiles
            For a versioned plan, the tile of each pass, int8 (rows, columns), instead of those in the weight memory.
        """
        if tiles is not None:
            return Kernels(plan, np.stack(tiles), self._channel_parameters(plan))
        if id(plan) not in self._kernels:
            held = self._tiles([passes[i] for i in plan.tiles])
            self._kernels[id(plan)] = plan, Kernels(plan, held, self._channel_parameters(plan))
        return self._kernels[id(plan)][1]

    def outputs(self, kernels: Kernels, halves: np.ndarray, words: int) -> np.ndarray:
        """Run a program on a batch of inputs.

        Parameters
        ----------
        halves
            int8 (batch, halves per repeat, input_words, rows).
        words
            Memory words of one output.

        Returns
        -------
        The link words of all outputs, uint32 (batch x link words, lanes).
        """
        config = self.config
        size = chunks(8 * config.rows, config) * config.link_bits // 8
        sent = np.zeros((len(halves), words, size), np.uint8)
        # A few inputs at a time stay in the caches. Small products gain nothing from BLAS threads: each thread computes
        # whole inputs instead.
        room = max(1, _BATCH_BYTES // kernels.bytes)
        large = kernels.one_product and kernels.largest_product * min(room, len(halves)) >= _BLAS_THREADS_FROM
        at_once = room if large else min(room, ceil_div(len(halves), _threads()))

        def compute(first: int) -> None:
            batch = slice(first, first + at_once)
            sent[batch, :, : config.rows] = kernels.outputs(kernels.compute(halves[batch]), words)

        pieces = range(0, len(halves), at_once)
        with nullcontext() if large else _one_blas_thread():
            if large or len(pieces) == 1:
                for first in pieces:
                    compute(first)
            else:
                list(_pool().map(compute, pieces))
        return sent.view("<u4").reshape(-1, config.link_bits // 32)

    def _channel_parameters(self, plan: Plan) -> dict[str, np.ndarray]:
        """Return the requantisation parameters that a plan uses: each field int64 (sets, columns)."""
        words = self.parameters[
            np.array([first for first, _ in plan.parameters])[:, None] + np.arange(self.config.groups)
        ]
        return channel_parameters(words, self.config)


def channel_parameters(words: np.ndarray, config: Config) -> dict[str, np.ndarray]:
    """Decode parameter words.

    Parameters
    ----------
    words
        Link words, uint32 (sets, groups, chunks, lanes).
    config
        The machine.

    Returns
    -------
    For each field of `etchnet.hdl.isa.Parameters`, int64 (sets, columns).
    """
    layout = Parameters.layout(config)
    raw = np.ascontiguousarray(words, "<u4").reshape(len(words), config.groups, -1).view(np.uint8)
    bits = np.unpackbits(raw, axis=2, bitorder="little")[..., : config.requantisers * layout.size]
    bits = bits.reshape(len(words), config.columns, layout.size).astype(np.int64)
    fields = {}
    for name, field in layout:
        weights = np.int64(1) << np.arange(field.width)
        if Shape.cast(field.shape).signed:
            weights[-1] *= -1
        fields[str(name)] = bits[..., field.offset : field.offset + field.width] @ weights
    return fields
