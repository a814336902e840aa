"""A compiled network: the contents of a machine's memories, and the format of its inputs and outputs."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import Counter, Drain, Pass, RunCommand, Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.html import html_table
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.arrangement import Arrangement
from etchnet.host.compiler.capacity import CapacityError, Needs
from etchnet.host.compiler.emit.groups import Label, Order, Write
from etchnet.host.compiler.im2col import Im2col
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.network.network import INPUT, Network
from etchnet.sim.timing import run_counts

__all__ = ["Program"]


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """A network compiled for one machine: the contents of its memories, and the format of inputs and results.

    Attributes
    ----------
    batch
        Inputs that one repeat of the program takes.
    weights
        int8 (weight words, weight_rows, columns).
    parameters
        Parameter words.
    labels
        For each pass, the part of the network that it computes.
    writes
        For each drain, the part of a layer's result that it writes; None if it writes accumulator rows.
    im2col
        How the host unfolds an input.
    arrangements
        For each layer whose result is not stored pixel by pixel, the arrangement of that result.
    input_layouts, output_layouts
        The layouts of the network's inputs in the input memory, and of its outputs in the output memory.
    fused
        The additions that are fused into the layer before them.
    orders
        For each layer that has passes, the order of its passes.
    activation_words, residual_words
        Words that the program needs of the activation and residual memories.
    """

    config: Config
    network: Network
    batch: int
    passes: list[Pass]
    drains: list[Drain]
    weights: np.ndarray
    parameters: list[int]
    labels: list[Label]
    writes: list[Write | None]
    im2col: Im2col
    arrangements: Mapping[int, Arrangement]
    input_layouts: Sequence[TensorLayout]
    output_layouts: Sequence[TensorLayout]
    fused: list[int]
    orders: dict[int, Order]
    activation_words: int
    residual_words: int

    def __repr__(self) -> str:
        return (
            f"Program({self.network.summary}; batch {self.batch} on {self.config.rows} x {self.config.columns}: "
            f"{len(self.passes):,} passes, {len(self.drains):,} drains)"
        )

    def _repr_html_(self) -> str:
        counted = collections.Counter(self.layers)
        rows = [
            [
                str(layer),
                type(self.network.layers[layer]).__name__,
                f"{order.method}, {order.order}, {order.rows} rows",
                f"{counted[layer]:,}",
                f"{sum(p.pixels for p, of in zip(self.passes, self.layers, strict=True) if of == layer):,}",
            ]
            for layer, order in self.orders.items()
        ]
        return html_table(["layer", "kind", "order", "passes", "pixels"], rows, repr(self))

    @property
    def layers(self) -> list[int]:
        """The layer of each pass."""
        return [label.layer for label in self.labels]

    def first_pixel(self, pass_number: int) -> int:
        """Return the first pixel of a layer's result that a pass computes, counted over all images."""
        label = self.labels[pass_number]
        arranged = self.arrangements.get(label.layer)
        return arranged.image_pixel(label.pixel, self.network.shapes[label.layer]) if arranged else label.pixel

    @property
    def weight_words(self) -> np.ndarray:
        """`weights` as whole memory words: int8 (weight words, weight_rows x columns)."""
        return self.weights.reshape(len(self.weights), math.prod(self.weights.shape[1:]))

    @property
    def input_words(self) -> int:
        """Input memory words of one repeat."""
        return sum(layout.size for layout in self.input_layouts)

    @property
    def output_words(self) -> int:
        """Output memory words of one repeat."""
        # A layer that gives several outputs is stored once.
        return max(layout.base + layout.size for layout in self.output_layouts)

    @property
    def needs(self) -> Needs:
        """The memory needs of the program."""
        tensors = Needs.tensors(
            input_words=self.input_words, output_words=self.output_words, activation_words=self.activation_words
        )
        return tensors | Needs.code(self.passes, len(self.drains), len(self.weights), len(self.parameters), self.config)

    def on(self, config: Config) -> Program:
        """Return the same program for a machine that differs only in the sizes of memories.

        No instruction depends on the size of a memory, so nothing is compiled. Raises CapacityError if the program does
        not fit.
        """
        if short := self.needs.short(config):
            raise CapacityError.of(short, config, self.batch)
        return dataclasses.replace(self, config=config)

    def command(self, repeats: int, *, first_pass: int = 0, first_drain: int = 0) -> RunCommand:
        """Return the command of a run that computes `repeats` x `batch` inputs."""
        return RunCommand(
            first_pass=first_pass,
            passes=len(self.passes),
            first_drain=first_drain,
            drains=len(self.drains),
            output_words=self.output_words,
            repeats=repeats,
        )

    def image(self) -> dict[Target, list[int]]:
        """Return the initial contents of the memories of a machine with this network built in."""
        weights = self.weight_words.view(np.uint8)
        return {
            Target.PASSES: [p.encode(self.config) for p in self.passes],
            Target.DRAINS: [d.encode(self.config) for d in self.drains],
            Target.PARAMETERS: self.parameters,
            Target.WEIGHTS: [int.from_bytes(word.tobytes(), "little") for word in weights],
        }

    def counts(self, repeats: int = 1) -> dict[Counter, int]:
        """Return the machine's counters after a run that never waits for its links."""
        return run_counts(self.passes, self.drains, self.config, repeats=repeats)

    def link_cycles(self) -> tuple[int, int]:
        """Return the link words of the inputs and of the results of one repeat, without headers."""
        beats = chunks(8 * self.config.rows, self.config)
        return self.input_words * beats, self.output_words * beats

    @property
    def repeat_cycles(self) -> int:
        """Cycles from one repeat to the next: those of the machine, or those of the slower link if there are more."""
        return max(self.counts(2)[Counter.CYCLES] - self.counts()[Counter.CYCLES], *self.link_cycles())

    def pack_inputs(self, x: np.ndarray) -> np.ndarray:
        """Pack inputs int8 (M, input_size), M <= `batch`, into memory words int8 (input_words, rows), by pixel."""
        return self.pack_repeats(x)[0]

    def pack_repeats(self, x: np.ndarray) -> np.ndarray:
        """Pack inputs int8 (M, input_size) for ceil(M / batch) repeats: int8 (repeats, input_words, rows).

        Zeros fill the last repeat.
        """
        repeats = ceil_div(len(x), self.batch)
        images = x
        if len(x) < repeats * self.batch:
            images = np.zeros((repeats * self.batch, self.network.input_size), np.int8)
            images[: len(x)] = x
        packed = []
        for number, part in enumerate(self.network.split_inputs(images)):
            unfolded = self.im2col.apply(part) if INPUT - number == self.im2col.source else part
            packed.append(self._pack(unfolded, self.input_layouts[number]).reshape(repeats, -1, self.config.rows))
        return packed[0] if len(packed) == 1 else np.concatenate(packed, axis=1)

    def _pack(self, images: np.ndarray, layout: TensorLayout) -> np.ndarray:
        """Pack images of one input into memory words, int8 (words, rows) or a shape with as many values."""
        pixels = images.reshape(-1, layout.shape[2])
        size = layout.words * self.config.rows
        if pixels.shape[1] == size:
            return pixels
        words = np.zeros((len(pixels), size), np.int8)
        words[:, : pixels.shape[1]] = pixels
        return words

    def unpack_outputs(self, words: np.ndarray) -> np.ndarray:
        """Unpack memory words uint8 (output_words, rows) to int8 or int32 (batch, output_size)."""
        return self.unpack_repeats(words[None])

    def unpack_repeats(self, words: np.ndarray) -> np.ndarray:
        """Unpack uint8 (repeats, output_words, rows) to int8 or int32 (repeats x batch, output_size)."""
        return self.network.join_outputs([self._unpack(words, layout) for layout in self.output_layouts])

    def _unpack(self, words: np.ndarray, layout: TensorLayout) -> np.ndarray:
        """Unpack one output: int8 or int32 (repeats x batch, values)."""
        config, images = self.config, len(words) * self.batch
        flat = words[:, layout.base : layout.base + layout.size].reshape(images * layout.pixels, -1)
        if not layout.wide:
            count = len(layout.channels)
            dense = layout.channels[-1] == count - 1 and bool((np.diff(layout.channels) == 1).all())
            chosen = flat[:, :count] if dense else flat[:, layout.channels]
            return np.ascontiguousarray(chosen).view(np.int8).reshape(images, -1)
        tile_bytes = config.words_per_pixel(wide=True) * config.rows
        channel = np.arange(layout.shape[2])
        start = channel // config.columns * tile_bytes + channel % config.columns * 4
        values = np.ascontiguousarray(flat[:, start[:, None] + np.arange(4)]).view("<i4")[..., 0]
        return values.reshape(images, -1)
