"""The state of a compilation, which its stages read and extend."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etchnet.hdl.isa import Drain, Pass
from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.arrangements import ArrangedNetwork, Choice
from etchnet.host.compiler.emit.groups import Label, Order, Write
from etchnet.host.compiler.fusion import FusionGroup, Lowered
from etchnet.host.compiler.memory_map import MemoryMap
from etchnet.host.compiler.search import ScheduleCache
from etchnet.host.network.network import Network

__all__ = ["Code", "State"]


@dataclass(frozen=True, eq=False)
class Code:
    """The contents of a machine's program, weight and parameter memories.

    Attributes
    ----------
    labels
        For each pass, the part of the network that it computes.
    writes
        For each drain, the part of a layer's result that it writes; None if it writes accumulator rows.
    weights
        int8 (weight words, weight_rows, columns).
    parameters
        Parameter words.
    """

    passes: Sequence[Pass] = ()
    drains: Sequence[Drain] = ()
    labels: Sequence[Label] = ()
    writes: Sequence[Write | None] = ()
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.int8))
    parameters: Sequence[int] = ()

    def __repr__(self) -> str:
        return (
            f"Code({len(self.passes)} passes, {len(self.drains)} drains, {len(self.weights)} weight words, "
            f"{len(self.parameters)} parameter words)"
        )


@dataclass(frozen=True, eq=False)
class State:
    """A compilation in progress. A stage takes a state and returns a copy with the stage's own fields filled in.

    Attributes
    ----------
    source, config, batch
        The network to compile, the machine, and the inputs that are computed at once. No stage changes them.
    streamed, once
        See `compile_network`.
    arranged
        The parts of layers with weights, for any arrangements of tensors.
    choices, choice
        The arrangements of tensors that are worth trying, the most promising first; and those to use.
    beam
        Partial schedules that the search for orders keeps; 0 takes the order with the fewest passes, without a search.
    cache
        Timing that the candidates of one compilation share.
    network, origin
        The network as rewritten so far, and for each of its layers the index in `source`.
    lowered, in_place
        The parts of each layer; and the reshapes that need none, because their result equals their source in memory.
    groups
        The fusion groups, in the order in which they are computed.
    memory
        The addresses of all tensors.
    orders, cycles
        The order of the passes of each fusion group; and the cycles from one repeat of the program to the next.
    code
        Passes, drains, weights and parameters.
    """

    source: Network
    config: Config
    network: Network
    arranged: ArrangedNetwork
    choice: Choice
    batch: int = 1
    streamed: bool = False
    once: bool = False
    choices: Sequence[Choice] = ()
    beam: int = 1
    cache: ScheduleCache = field(default_factory=ScheduleCache, repr=False)
    origin: Sequence[int] = ()
    lowered: Lowered = field(default_factory=dict)
    in_place: Collection[int] = ()
    groups: Sequence[FusionGroup] = ()
    memory: MemoryMap = field(default_factory=MemoryMap)
    orders: Sequence[Order] = ()
    cycles: int = 0
    code: Code = field(default_factory=Code)

    @classmethod
    def start(
        cls, network: Network, config: Config, *, batch: int = 1, streamed: bool = False, once: bool = False
    ) -> State:
        """Return the state before the first stage."""
        return cls(
            network,
            config,
            network,
            ArrangedNetwork(network, config, batch),
            Choice(),
            batch=batch,
            streamed=streamed,
            once=once,
            origin=range(len(network.layers)),
        )

    def replace(self, **changes: Any) -> State:
        """Return a copy with new values in some fields."""
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        return (
            f"State({self.network.summary}; im2col {self.choice.im2col.name}, {len(self.lowered)} layers lowered, "
            f"{len(self.groups)} fusion groups, {self.memory.activation_words} activation words, "
            f"{self.cycles:,} cycles, {self.code!r})"
        )
