"""Packets of a program: its instructions, constants and inputs; and the unpacking of its results."""

from __future__ import annotations

import numpy as np

from etchnet.hdl.isa import HEADER_WORDS, Drain, Pass, RunCommand, Target, chunks, pack, pack_bytes, packet
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.packets import word_bits
from etchnet.host.compiler.program import Program

__all__ = [
    "constant_packets",
    "input_packets",
    "instruction_packets",
    "result_link_words",
    "run_packet",
    "unpack_results",
    "weight_packets_by_tile",
]


def instruction_packets(program: Program, *, first_pass: int = 0, first_drain: int = 0) -> list[np.ndarray]:
    """Return the packets that write the passes and drains of a program, from the given addresses on."""
    config = program.config
    packets = []
    for target, kind, words, address in (
        (Target.PASSES, Pass, program.passes, first_pass),
        (Target.DRAINS, Drain, program.drains, first_drain),
    ):
        packed = pack([word.encode(config) for word in words], kind.layout(config).size, config)
        packets.append(packet(target, packed, config, address=address))
    return packets


def constant_packets(program: Program, *, weights: bool = True) -> list[np.ndarray]:
    """Return the packets that write the parameters and, by default, the weights of a program, if it has any."""
    config = program.config
    packed = pack(program.parameters, word_bits(Target.PARAMETERS, config), config)
    packets = [packet(Target.PARAMETERS, packed, config)]
    if weights and len(program.weights):
        packets.append(packet(Target.WEIGHTS, pack_bytes(program.weight_words, config), config))
    return packets


def weight_packets_by_tile(program: Program, tiles: int) -> list[np.ndarray]:
    """Return the weights of a streamed program as one committed packet for each of its column tiles."""
    config = program.config
    return [
        packet(Target.WEIGHTS, pack_bytes(part, config), config, address=tile * len(part), commit=True)
        for tile, part in enumerate(np.split(program.weight_words, tiles))
    ]


def input_packets(program: Program, x: np.ndarray) -> np.ndarray:
    """Return one packet for each repeat that the inputs `x`, int8 (M, input_size), need.

    The result is uint32 (repeats, link words of a packet, link_bits / 32).
    """
    packed = program.pack_repeats(x)
    words = pack_bytes(packed.reshape(-1, packed.shape[2]), program.config)
    first = packet(Target.INPUT, words[: packed.shape[1]], program.config, acquire=True, commit=True)
    # All packets have the header of the first.
    packets = np.empty((len(packed), *first.shape), np.uint32)
    packets[:, :HEADER_WORDS] = first[:HEADER_WORDS]
    packets[:, HEADER_WORDS:] = words.reshape(len(packed), -1, first.shape[1])
    return packets


def run_packet(command: RunCommand, config: Config) -> np.ndarray:
    """Return the packet of a run command."""
    return packet(Target.RUN, command.words(config), config)


def result_link_words(program: Program) -> int:
    """Return the number of link words of the results of one repeat."""
    return program.output_words * chunks(8 * program.config.rows, program.config)


def unpack_results(program: Program, received: np.ndarray, repeats: int) -> np.ndarray:
    """Return the results of `repeats` repeats, int8 or int32 (repeats x batch, output_size), from their link words."""
    raw = received.reshape(repeats, program.output_words, -1).view(np.uint8)[..., : program.config.rows]
    return program.unpack_repeats(raw)
