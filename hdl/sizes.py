"""How large the memories of a machine are, and how many block RAMs of a common FPGA they take."""

from __future__ import annotations

from dataclasses import dataclass

from etchnet.hdl.bus import stored, word_bits
from etchnet.hdl.config import Config
from etchnet.hdl.isa import Drain, Target

__all__ = ["MemorySize", "memories"]

_ECP5_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""words and bits that one block RAM of an ECP5 can be (Lattice FPGA-TN-02204)"""
_LUT_WORDS = 32
"""memories of up to so many words are made of lookup tables instead"""


@dataclass(frozen=True)
class MemorySize:
    """`copies` memories of `words` words of `bits` bits, each with a read and a write port of its own."""

    name: str
    words: int
    bits: int
    copies: int = 1

    @property
    def bytes(self) -> float:
        """Bytes of all copies."""
        return self.words * self.bits * self.copies / 8

    def block_rams(self) -> int:
        """Block RAMs of an ECP5 for all copies: the fewest in any one of their shapes."""
        if self.words <= _LUT_WORDS:
            return 0
        return self.copies * min(-(-self.words // words) * -(-self.bits // bits) for words, bits in _ECP5_SHAPES)


def memories(config: Config) -> list[MemorySize]:
    """Every memory of a machine, with the bits that its gateware gives it."""

    def loaded(target: Target, first: int = 0, end: int | None = None) -> int:
        return stored(config, first=first, bits=(word_bits(target, config) if end is None else end) - first)[1]

    drain = Drain.layout(config)
    found = [
        MemorySize("weights", config.weight_words, 8, config.weight_rows * config.columns),
        MemorySize("activation", config.activation_words, 8 * config.rows),
        MemorySize("input", 2 * config.input_words, loaded(Target.INPUT)),
        MemorySize("output", 2 * config.output_words, 8 * config.rows),
        MemorySize("residual", config.residual_words or 0, 8 * config.rows),
        MemorySize("accumulators", config.accumulator_rows, 32 * config.columns, 2),
        MemorySize("parameters", config.parameter_words, loaded(Target.PARAMETERS)),
        MemorySize("passes", config.passes, loaded(Target.PASSES)),
        MemorySize("drains", config.drains, loaded(Target.DRAINS, drain["chained"].offset)),
        MemorySize("bounds", config.drains, loaded(Target.DRAINS, 0, drain["zero_point"].offset)),
        MemorySize("zero points", config.drains, drain["zero_point"].width),
        MemorySize("line buffers", config.line_words, 8 * config.rows, max(0, (config.depthwise or 0) - 1)),
    ]
    return [memory for memory in found if memory.words and memory.copies]
