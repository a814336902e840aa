"""A compiled network: the contents of a machine's memories, and the format of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import Counter, Drain, Pass, RunCommand, Target, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.emit.emitter import Label, Option, Write
from etchnet.host.compiler.im2col import Im2col
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.network.network import Network
from etchnet.sim.timing import run_counts

__all__ = ["Program"]


@dataclass(frozen=True, eq=False)
class Program:
    """A network laid out for one machine: the contents of its memories, and how to feed it."""

    config: Config
    network: Network
    batch: int
    """inputs that one repeat takes at once"""
    passes: list[Pass]
    drains: list[Drain]
    weights: np.ndarray
    """int8 (weight words, weight_rows, columns)"""
    parameters: list[int]
    """parameter words"""
    labels: list[Label]
    """for each pass, what it is for"""
    writes: list[Write | None]
    """for each drain, what it writes of which layer"""
    im2col: Im2col
    input_layout: TensorLayout
    output_layout: TensorLayout
    fused: list[int]
    """additions that are part of the layer before them"""
    methods: dict[int, Option]
    """for each layer that passes compute, the order that was chosen"""
    activation_words: int
    """activation memory words in use at once, at most"""
    residual_words: int
    """residual memory words in use at once, at most"""

    @property
    def layers(self) -> list[int]:
        """For each pass, the layer that it belongs to."""
        return [label.layer for label in self.labels]

    @property
    def input_words(self) -> int:
        """Input memory words that one repeat takes."""
        return self.input_layout.size

    @property
    def output_words(self) -> int:
        """Output memory words that one repeat gives."""
        return self.output_layout.size

    def command(self, repeats: int, *, first_pass: int = 0, first_drain: int = 0) -> RunCommand:
        """The run that takes `repeats` times `batch` inputs."""
        return RunCommand(
            first_pass=first_pass,
            passes=len(self.passes),
            first_drain=first_drain,
            drains=len(self.drains),
            output_words=self.output_words,
            repeats=repeats,
        )

    def image(self) -> dict[Target, list[int]]:
        """Memory words, by what they are: what a machine with this network inside is built with."""
        weights = self.weights.reshape(len(self.weights), -1).view(np.uint8)
        return {
            Target.PASSES: [p.encode(self.config) for p in self.passes],
            Target.DRAINS: [d.encode(self.config) for d in self.drains],
            Target.PARAMETERS: self.parameters,
            Target.WEIGHTS: [int.from_bytes(word.tobytes(), "little") for word in weights],
        }

    def counts(self, repeats: int = 1) -> dict[Counter, int]:
        """What the machine's counters will read after a run that never waits for its links."""
        return run_counts(self.passes, self.drains, self.config, repeats=repeats)

    def link_cycles(self) -> tuple[int, int]:
        """Link words that one repeat's inputs and results take, headers left out: (in, out)."""
        beats = chunks(8 * self.config.rows, self.config)
        return self.input_words * beats, self.output_words * beats

    @property
    def repeat_cycles(self) -> int:
        """Cycles from one repeat to the next: those of the array, or the words of the slower link."""
        return max(self.counts(2)[Counter.CYCLES] - self.counts()[Counter.CYCLES], *self.link_cycles())

    def pack_inputs(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, inputs), M at most `batch`, as memory words: int8 (input_words, rows), pixel after pixel."""
        return self.pack_repeats(x)[0]

    def pack_repeats(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, inputs) as the inputs of as many repeats as it takes: int8 (repeats, input_words, rows)."""
        repeats = ceil_div(len(x), self.batch)
        images = x
        if len(x) < repeats * self.batch:
            images = np.zeros((repeats * self.batch, self.network.inputs), np.int8)
            images[: len(x)] = x
        images = self.im2col.apply(images.reshape(-1, *self.network.input_shape))
        pixels = images.reshape(-1, self.input_layout.shape[2])
        size = self.input_layout.words * self.config.rows
        if pixels.shape[1] == size:
            return pixels.reshape(repeats, -1, self.config.rows)
        words = np.zeros((len(pixels), size), np.int8)
        words[:, : pixels.shape[1]] = pixels
        return words.reshape(repeats, -1, self.config.rows)

    def unpack_outputs(self, words: np.ndarray) -> np.ndarray:
        """Memory words, uint8 (output_words, rows), as int8 or int32 (batch, outputs)."""
        return self.unpack_repeats(words[None])

    def unpack_repeats(self, words: np.ndarray) -> np.ndarray:
        """The same of many repeats: uint8 (repeats, output_words, rows) as (repeats x batch, outputs)."""
        layout, config = self.output_layout, self.config
        flat = words.reshape(len(words) * self.batch * layout.pixels, -1)
        images = len(words) * self.batch
        if not self.network.wide:
            count = len(layout.channels)
            dense = layout.channels[-1] == count - 1 and bool((np.diff(layout.channels) == 1).all())
            chosen = flat[:, :count] if dense else flat[:, layout.channels]
            return np.ascontiguousarray(chosen).view(np.int8).reshape(images, -1)
        tile_bytes = config.words_per_pixel(wide=True) * config.rows
        channel = np.arange(layout.shape[2])
        start = channel // config.columns * tile_bytes + channel % config.columns * 4
        values = np.ascontiguousarray(flat[:, start[:, None] + np.arange(4)]).view("<i4")[..., 0]
        return values.reshape(images, -1)
