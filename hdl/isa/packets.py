"""The format of the links: packets, run commands, and memory words cut into link words."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from amaranth.hdl import unsigned

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.drains import Drain, Parameters
from etchnet.hdl.isa.instruction import Instruction, field
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.isa.passes import Pass

__all__ = [
    "HEADER_WORDS",
    "Header",
    "RunCommand",
    "StoredSlice",
    "Target",
    "chunks",
    "machine_hash",
    "pack",
    "pack_bytes",
    "packet",
    "stored_slice",
    "unpack",
    "word_bits",
]


HEADER_WORDS = 2
"""link words before the memory words of a packet: the `Header`, and the number of memory words"""


class Target(enum.IntEnum):
    """The memory that a packet fills, or the request that it makes."""

    PASSES = 0
    DRAINS = 1
    PARAMETERS = 2
    WEIGHTS = 3
    INPUT = 4
    RUN = 5
    COUNTERS = 6


@dataclass(frozen=True, kw_only=True)
class Header(Instruction):
    """The first link word of a packet, in its low 32 bits; the second is the number of memory words that follow."""

    target: Target = field(lambda c: unsigned(4), "memory that the packet fills, or request that it makes")
    acquire: bool = field(
        lambda c: unsigned(1), "`INPUT`: wait for a free half. `WEIGHTS`: wait until a pass has permitted the packet"
    )
    commit: bool = field(
        lambda c: unsigned(1),
        "`INPUT`: hand the half to the sequencer. `WEIGHTS`: let one pass with `wait_weights` begin",
    )
    unused: int = field(lambda c: unsigned(2), "always zero")
    address: int = field(lambda c: unsigned(24), "address of the first memory word; the others follow")


def chunks(bits: int, config: Config) -> int:
    """Return the number of link words that carry one memory word of `bits` bits."""
    return ceil_div(bits, config.link_bits)


def word_bits(target: Target, config: Config) -> int:
    """Return the bits of one memory word in packets of `target`."""
    match target:
        case Target.PASSES:
            return Pass.layout(config).size
        case Target.DRAINS:
            return Drain.layout(config).size
        case Target.PARAMETERS:
            return Parameters.layout(config).size * config.requantisers
        case Target.WEIGHTS:
            return 8 * config.weight_rows * config.columns
        case Target.INPUT:
            return 8 * config.rows
        case _:
            return config.link_bits


class StoredSlice(NamedTuple):
    """The slice of a packet word that a memory stores: whole link words (chunks), unless it fits within one."""

    first: int
    """first bit of the packet word that is stored"""
    bits: int
    """bits that are stored"""
    chunk: int
    """index of the first chunk that carries any of them"""
    parts: tuple[int, ...]
    """bits of each chunk, lowest chunk first; of the last chunk only those in use"""


def stored_slice(config: Config, *, bits: int, first: int = 0) -> StoredSlice:
    """Return the slice to store so that `bits` bits of a packet word, from bit `first` upwards, can be read."""
    width, end = config.link_bits, first + bits
    chunk, last = first // width, chunks(end, config)
    if last - chunk == 1:
        return StoredSlice(first, bits, chunk, (bits,))
    cuts = [*range(chunk * width, end, width), end]
    parts = tuple(stop - start for start, stop in itertools.pairwise(cuts))
    return StoredSlice(chunk * width, (last - chunk) * width, chunk, parts)


@dataclass(frozen=True, kw_only=True)
class RunCommand(Instruction):
    """The contents of a RUN packet, one link word per field."""

    first_pass: int = field(lambda c: unsigned(c.address_bits(c.passes)), "first pass")
    passes: int = field(lambda c: unsigned(c.passes.bit_length()), "passes in the program, at least 1", 1)
    first_drain: int = field(lambda c: unsigned(c.address_bits(c.drains)), "first drain")
    drains: int = field(lambda c: unsigned(c.drains.bit_length()), "drains in the program, at least 1", 1)
    output_words: int = field(
        lambda c: unsigned(c.output_words.bit_length()), "memory words to send of every committed half", 1
    )
    repeats: int = field(lambda c: unsigned(32), "number of times to run the program, back to back, at least 1", 1)

    def words(self, config: Config) -> np.ndarray:
        """Return the memory words of a RUN packet, as `pack` lays them out; raise InstructionError as `encode` does."""
        self.encode(config)
        return pack([int(getattr(self, f.name)) for f in dataclasses.fields(self)], config.link_bits, config)


def machine_hash(config: Config) -> int:
    """Return a CRC-32 of everything a program depends on: the machine's parameters and the layout of instructions."""
    layouts = [kind.layout(config) for kind in (Pass, Drain, Parameters, RunCommand)]
    fields = [[(str(name), field.offset, field.width) for name, field in layout] for layout in layouts]
    return zlib.crc32(json.dumps([config.to_dict(), fields], sort_keys=True).encode())


def pack(words: Iterable[int], bits: int, config: Config) -> np.ndarray:
    """Cut memory words of `bits` bits into link words, lowest bits first.

    Returns uint32 of shape (words, chunks, link_bits / 32).
    """
    size = chunks(bits, config) * config.link_bits // 8
    raw = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(raw, dtype="<u4").reshape(-1, chunks(bits, config), config.link_bits // 32)


def unpack(beats: np.ndarray, bits: int, config: Config) -> list[int]:
    """Reassemble memory words from link words: the inverse of `pack`."""
    size = chunks(bits, config) * config.link_bits // 8
    raw = np.ascontiguousarray(beats, dtype="<u4").tobytes()
    return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]


def pack_bytes(values: np.ndarray, config: Config) -> np.ndarray:
    """Cut memory words given as bytes, int8 or uint8 (words, bytes), into link words as `pack` does."""
    size = chunks(8 * values.shape[1], config) * config.link_bits // 8
    if values.shape[1] == size:
        return np.ascontiguousarray(values).view("<u4").reshape(len(values), -1, config.link_bits // 32)
    padded = np.zeros((len(values), size), dtype=np.uint8)
    padded[:, : values.shape[1]] = values.view(np.uint8)
    return padded.view("<u4").reshape(len(values), -1, config.link_bits // 32)


def packet(
    target: Target, words: np.ndarray, config: Config, *, address: int = 0, acquire: bool = False, commit: bool = False
) -> np.ndarray:
    """Return one packet for the incoming link: two header words, then `words` as `pack` laid them out.

    The packet is uint32 of shape (link words, link_bits / 32). Raises InstructionError for an address that the header
    cannot hold.
    """
    count, lanes = len(words), config.link_bits // 32
    beats = np.zeros((HEADER_WORDS + words.size // lanes, lanes), dtype=np.uint32)
    beats[0, 0] = Header(target=target, acquire=acquire, commit=commit, address=address).encode(config)
    beats[1, 0] = count
    beats[HEADER_WORDS:] = words.reshape(-1, lanes)
    return beats
