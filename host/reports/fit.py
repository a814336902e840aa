"""Machines whose memories are as large as a network needs, and the fastest batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.boards import Board
from etchnet.host.compiler.capacity import MEMORIES, CapacityError, enough, largest, resized
from etchnet.host.compiler.compile import compile_network
from etchnet.host.compiler.program import Program
from etchnet.host.network.network import Network
from etchnet.host.reports.area import eased

__all__ = ["fitted", "one_and_many", "roomy", "shrunk"]

# The accumulators are left out because the cycles of a program depend on them.
_SIZES = tuple(name for name in MEMORIES if name != "accumulator_rows")


def roomy(config: Config, *, keep: Collection[str] = ()) -> Config:
    """Return `config` with its memories for programs, weights and values as large as possible, except those in `keep`.

    The powers of two among them are the largest that are possible.
    """
    return resized(config, {name: largest(name) for name in _SIZES if name not in keep})


def fitted(
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    packed: str | None = None,
    thorough: bool = True,
    board: Board | None = None,
    keep: Collection[str] = (),
) -> Program:
    """Compile a network for a machine like `config` whose memories are just large enough for it.

    Parameters that affect the order of passes keep their values: array, output stage, accumulators, line buffers, and
    the part of the residual memory that is used; depthwise passes are left out if the program has none. The machine is
    the `config` of the returned program.

    Parameters
    ----------
    batch, packed, thorough
        As for `compile_network`.
    board
        Board for which some memories may be larger so that the machine fits: see `etchnet.host.reports.area.eased`.
    keep
        Parameters that keep their values in any case.

    Raises
    ------
    CapacityError
        Even the largest memories cannot hold the network, or those in `keep` are too small.
    """

    def compiled() -> Program:
        room = roomy(config, keep=keep)
        return compile_network(network, room, batch=batch, packed=packed, thorough=thorough)

    program = compiled()
    if config.depthwise and "depthwise" not in keep and not _has_windows(program):
        # Without depthwise passes, the longest pass is shorter, so other orders may be faster.
        config = dataclasses.replace(config, depthwise=0)
        program = compiled()
    smallest = shrunk(program, keep=keep)
    return program.on(eased(smallest, board, keep=keep) if board else smallest)


def _has_windows(program: Program) -> bool:
    return any(option.method == "window" for option in program.orders.values())


def shrunk(program: Program, *, keep: Collection[str] = ()) -> Config:
    """Return the program's machine with memories that are just large enough for the program, except those in `keep`."""
    needs = program.needs
    sizes = {name: value for name, value in needs.sizes.items() if name not in keep}
    if "residual_words" not in keep:
        sizes["residual_words"] = program.residual_words
    smallest = resized(program.config, sizes)
    # Addresses of a border may need a larger memory than the tensors do; either of two will do.
    short = needs.short(smallest)
    if "activation_words" in keep and short:
        short = {"input_words": enough("input_words", needs.reach)}
    return resized(smallest, short)


def one_and_many(
    network: Network, first: Program, *, batch: int | None = None, most: int = 16
) -> tuple[Program, Program]:
    """Compile a network for a batch of one, and for a batch of `batch` inputs, on the same machine.

    By default, powers of two up to `most` are tried until one does not fit or takes no fewer cycles per input than the
    one before. A larger batch can be slower because it leaves less memory for a faster order of passes.

    Parameters
    ----------
    first
        The network compiled for the machine: for a batch of `batch`, or else of one.

    Raises
    ------
    CapacityError
        The machine cannot hold the network.
    """
    config = first.config
    if batch is not None:
        return first if batch == 1 else compile_network(network, config), first
    many = first
    for exponent in range(1, most.bit_length()):
        try:
            larger = compile_network(network, config, batch=1 << exponent)
        except CapacityError:
            break
        if larger.repeat_cycles / larger.batch >= many.repeat_cycles / many.batch:
            break
        many = larger
    return first, many
