"""The pixel path: from the memories into the array."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from etchnet.hdl.blocks.delay_line import delay
from etchnet.hdl.blocks.ram import read_port
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.isa import Source
from etchnet.hdl.isa.config import Config

__all__ = ["PixelReader"]


class PixelReader(wiring.Component):
    """Reads each issued pixel from the input or the activation memory and passes it to the array.

    A pixel leaves on `activations` `latency` cycles after it was issued, one per cycle, without flow control. A pixel
    outside the image is not read: all its bytes are `pad`. Cycles without a pixel deliver zeros.

    ===========  =========  ========================  ==================================================================
    port         direction  shape                     meaning
    ===========  =========  ========================  ==================================================================
    pixel        in         `Sequencer.pixel_layout`  the pixel issued in this cycle
    input        out        `read_port`               read port of the input memory, both halves
    activation   out        `read_port`               read port of the activation memory
    activations  out        rows x int8               the vector that enters the array
    windowed     out        1                         the vector belongs to a depthwise pass
    line_delay   out        0 to `line_words`         how far the line buffers look back, set by the last depthwise pass
    ===========  =========  ========================  ==================================================================

    Both memories must have a read latency of `config.memory_latency` cycles.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "pixel": In(Sequencer.pixel_layout(config)),
                "input": Out(read_port(2 * config.input_words, 8 * config.rows)),
                "activation": Out(read_port(config.activation_words, 8 * config.rows)),
                "activations": Out(data.ArrayLayout(signed(8), config.rows)),
                "windowed": Out(1),
                "line_delay": Out(range(config.line_words + 1)),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Return the cycles from the issue of a pixel to its vector: read, then select."""
        return config.memory_latency + 1

    def elaborate(self, platform: Any) -> Module:
        """Read both memories, select, hold the line delay."""
        m = Module()
        config, pixel = self._config, self.pixel
        half_bits = config.address_bits(config.input_words)
        from_input = pixel.source == Source.INPUT
        m.d.comb += [
            self.input.address.eq(Cat(pixel.address[:half_bits], pixel.half)),
            self.input.enable.eq(pixel.valid & pixel.inside & from_input),
            self.activation.address.eq(pixel.address),
            self.activation.enable.eq(pixel.valid & pixel.inside & ~from_input),
        ]
        read = delay(m, pixel, config.memory_latency, name="pixel", resets=False)
        word = Mux(read.source == Source.INPUT, self.input.data, self.activation.data)
        pad = Cat(read.pad.as_unsigned()).replicate(config.rows)
        entering = Signal(8 * config.rows, reset_less=True)
        m.d.sync += entering.eq(Mux(read.valid, Mux(read.inside, word, pad), 0))
        entered = delay(m, read, self.latency(config) - config.memory_latency, name="entered", resets=False)
        m.d.comb += [self.activations.eq(entering), self.windowed.eq(entered.windowed)]
        with m.If(entered.windowed):
            m.d.sync += self.line_delay.eq(entered.line_delay)
        return m
