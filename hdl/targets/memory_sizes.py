"""The sizes of a machine's memories, and the block RAMs that they take on an FPGA."""

from __future__ import annotations

from dataclasses import dataclass

from etchnet.hdl.isa import Drain, Instruction, Pass, Target
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.packets import stored_slice, word_bits

__all__ = ["ECP5_BLOCKS", "GOWIN_BLOCKS", "ICE40_BLOCKS", "BlockRams", "MemorySize", "memories"]


@dataclass(frozen=True)
class BlockRams:
    """The block RAMs of a device, and the limit below which synthesis builds a memory of registers or LUTs instead."""

    shapes: tuple[tuple[int, int], ...]
    """possible shapes: words and bits per word"""
    words: int
    """a memory of at most this many words takes no block RAM"""
    bits: int
    """a memory of at most this many bits takes no block RAM"""
    masked: bool = False
    """whether parts of a word with write enables of their own can share a block RAM"""

    def needed(self, words: int, bits: int) -> int:
        """Return the minimum number of block RAMs for a memory, all of one shape."""
        if words <= self.words or words * bits <= self.bits:
            return 0
        return min(ceil_div(words, deep) * ceil_div(bits, wide) for deep, wide in self.shapes)


# Shapes are those of Lattice FPGA-TN-02204 and FPGA-TN-02002, and of Gowin UG285; limits were observed with Yosys 0.70.
_EIGHTEEN_KBITS = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
ECP5_BLOCKS = BlockRams(_EIGHTEEN_KBITS, words=32, bits=1024)
GOWIN_BLOCKS = BlockRams(_EIGHTEEN_KBITS, words=16, bits=1024)
ICE40_BLOCKS = BlockRams(((256, 16), (512, 8), (1024, 4), (2048, 2)), words=4, bits=64, masked=True)


@dataclass(frozen=True)
class MemorySize:
    """The size of `copies` equal memories of `words` words of `bits` bits, with a read and a write port each."""

    name: str
    words: int
    bits: int
    copies: int = 1
    parts: tuple[int, ...] = ()
    """bits in use of each part of a word with a write enable of its own; empty if words are written as a whole"""

    @property
    def bytes(self) -> float:
        """Bytes of all copies."""
        return self.words * self.bits * self.copies / 8

    def block_rams(self, blocks: BlockRams = ECP5_BLOCKS) -> int:
        """Block RAMs for all copies."""
        return self.copies * sum(blocks.needed(self.words, part) for part in self._separate(blocks))

    def small_bits(self, blocks: BlockRams) -> int:
        """Bits of all copies that are in no block RAM."""
        small = sum(part for part in self._separate(blocks) if not blocks.needed(self.words, part))
        return self.copies * self.words * small

    def _separate(self, blocks: BlockRams) -> tuple[int, ...]:
        """Return the bits of each part of a word that cannot share a block RAM with another."""
        parts = self.parts or (self.bits,)
        return (sum(parts),) if blocks.masked else parts


_LATE_CONTENTS = {"bounds": "bounds", "zero_point": "zero points"}
"""what the memories of a drain's late fields are called in reports, by their names in the gateware"""


def memories(config: Config) -> list[MemorySize]:
    """Return every memory of a machine, with the bits that its gateware allocates."""

    def loaded(name: str, words: int, bits: int, first: int = 0) -> MemorySize:
        """Return a memory of `bits` bits of packet words, from bit `first` on, which packets write chunk by chunk."""
        held = stored_slice(config, first=first, bits=bits)
        return MemorySize(name, words, held.bits, parts=held.parts)

    def program(name: str, words: int, instruction: type[Instruction]) -> MemorySize:
        bits = instruction.streamed(config).size
        return loaded(name, words, bits, instruction.layout(config).size - bits)

    def late(memory: str) -> MemorySize:
        bits, first = Drain.late_layout(config, memory).size, Drain.late_offset(config, memory)
        return loaded(_LATE_CONTENTS[memory], config.drains, bits, first)

    def results(name: str, words: int, tiles: int) -> MemorySize:
        return MemorySize(name, words, 8 * config.rows, parts=(8 * config.rows // tiles,) * tiles)

    tiles = config.tiles_per_word
    found = [
        MemorySize("weights", config.weight_words, 8, config.weight_rows * config.columns),
        results("activation", config.activation_words, tiles),
        loaded("input", 2 * config.input_words, 8 * config.rows),
        results("output", 2 * config.output_words, tiles),
        results("residual", config.residual_words, 1),
        MemorySize("accumulators", config.accumulator_rows, 32 * config.columns, 2, (32,) * config.columns),
        loaded("parameters", config.parameter_words, word_bits(Target.PARAMETERS, config)),
        program("passes", config.passes, Pass),
        program("drains", config.drains, Drain),
        *map(late, Drain.LATE),
        MemorySize("line buffers", config.line_words, 8 * config.rows, max(0, config.depthwise - 1)),
    ]
    return [memory for memory in found if memory.words and memory.copies]
