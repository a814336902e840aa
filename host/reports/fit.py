"""Search for the smallest memories that hold a network, and for the fastest batch."""

from __future__ import annotations

import dataclasses

from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.hdl.targets.boards import Board
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.program import Program
from etchnet.host.network.network import Network
from etchnet.host.reports.area import eased

__all__ = ["fitted", "one_and_many", "roomy", "shrunk"]

_MEMORIES = ("weight_tiles", "activation_words", "input_words", "output_words", "passes", "drains", "parameter_tiles")


def roomy(config: Config) -> Config:
    """Return `config` with its memories for programs, weights and values as large as `Config` allows, up to 65,536."""
    fields = {f.name: f.metadata for f in dataclasses.fields(Config)}
    return dataclasses.replace(config, **{name: min(1 << 16, fields[name]["high"]) for name in _MEMORIES})


def fitted(
    network: Network, config: Config, *, batch: int = 1, packed: str | None = None, board: Board | None = None
) -> Program:
    """Compile a network for a machine like `config` whose memories are just large enough for it.

    `packed` is that of `compile_network`. For a `board`, some memories may be larger so that the machine fits: see
    `etchnet.host.reports.area.eased`.
    Parameters that affect the order of passes are kept: array, output stage, accumulators, line buffers, and the part
    of the residual memory that is used. The machine is the `config` of the returned program.

    Raises
    ------
    CapacityError
        Even the largest memories cannot hold the network.
    """
    program = compile_network(network, roomy(config), batch=batch, packed=packed)
    for _ in range(3):
        config = eased(shrunk(program), board) if board else shrunk(program)
        try:
            return compile_network(network, config, batch=batch, packed=program.im2col.name)
        except CapacityError:
            # For other memory sizes, the compiler may choose an equally fast order of passes that needs more memory.
            program = compile_network(network, _more(config), batch=batch, packed=program.im2col.name)
    return program


def _more(config: Config) -> Config:
    return dataclasses.replace(config, passes=config.passes * 5 // 4, drains=config.drains * 5 // 4)


def _power(words: int) -> int:
    return max(2, 1 << (words - 1).bit_length())


def shrunk(program: Program) -> Config:
    """Return the program's machine with memories that are just large enough for the program."""
    config = program.config
    uses_windows = any(option.method == "window" for option in program.orders.values())
    return dataclasses.replace(
        config,
        weight_tiles=max(1, ceil_div(len(program.weights), config.load_cycles)),
        activation_words=max(2, program.activation_words),
        input_words=_power(program.input_words),
        output_words=_power(program.output_words),
        passes=max(2, len(program.passes)),
        drains=max(2, len(program.drains)),
        parameter_tiles=max(1, ceil_div(len(program.parameters), config.groups)),
        residual_words=program.residual_words,
        depthwise=config.depthwise if uses_windows else 0,
    )


def one_and_many(
    network: Network, config: Config, *, batch: int | None = None, most: int = 16
) -> tuple[Program, Program]:
    """Compile a network for a batch of one, and for a batch of `batch` inputs.

    By default, powers of two up to `most` are tried until one does not fit or takes no fewer cycles per input than the
    one before. A larger batch can be slower because it leaves less memory for a faster order of passes.

    Raises
    ------
    CapacityError
        The machine cannot hold the network.
    """
    one = many = compile_network(network, config)
    if batch is not None:
        return one, compile_network(network, config, batch=batch)
    for exponent in range(1, most.bit_length()):
        try:
            larger = compile_network(network, config, batch=1 << exponent)
        except CapacityError:
            break
        if larger.repeat_cycles / larger.batch >= many.repeat_cycles / many.batch:
            break
        many = larger
    return one, many
