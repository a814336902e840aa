"""The stages of the compiler: each takes a `State` and returns a copy with more fields filled in.

`etchnet.host.compiler.compile.PIPELINE` gives their order. No stage modifies its argument.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from etchnet.hdl.isa import Destination, Drain, InstructionError, Pass, Source
from etchnet.host.compiler import fusion, memory_map, reshapes, search, slices
from etchnet.host.compiler.arrangements import ArrangedNetwork, arrangement_choices
from etchnet.host.compiler.capacity import CapacityError, Needs
from etchnet.host.compiler.emit.emitter import Emitter
from etchnet.host.compiler.emit.groups import Label, Write
from etchnet.host.compiler.lowering import addition
from etchnet.host.compiler.lowering import lower as lower_layer
from etchnet.host.compiler.parts import Addition, Part
from etchnet.host.compiler.state import Code, State
from etchnet.host.network.layers import Add, AddConstant, Linear
from etchnet.sim import timing

__all__ = [
    "allocate",
    "arrange",
    "check",
    "choose_orders",
    "emit",
    "fuse",
    "lower",
    "schedule",
    "strip_reshapes",
    "synchronise",
]


def strip_reshapes(state: State) -> State:
    """Remove the reshapes that change nothing in memory, and those that only fully connected layers read.

    Sets `network` and `origin`.
    """
    network, kept = reshapes.strip_reshapes(state.network)
    return state.replace(network=network, origin=[state.origin[index] for index in kept])


def arrange(state: State) -> State:
    """Find the arrangements of inputs and of narrow tensors that are worth trying.

    Sets `arranged`, `choices`, the most promising first, and `choice`, which is the first of them.
    """
    arranged = ArrangedNetwork(state.network, state.config, state.batch)
    choices = arrangement_choices(arranged)
    return state.replace(arranged=arranged, choices=choices, choice=choices[0])


def lower(state: State) -> State:
    """Turn each layer into parts: rectangles of result pixels, taps, and a weight matrix for each tap.

    Slices become part of the layers that read them, where that takes no more passes. Sets `lowered` and `in_place`.
    Raises NetworkError for a layer that the array cannot compute.
    """
    network = state.network
    in_place = reshapes.reshaped_in_place(network, state.config)
    lowered: dict[int, Sequence[Part] | Addition] = {}
    for index, (layer, sources) in enumerate(zip(network.layers, reshapes.sources_of(network), strict=True)):
        if index in in_place:
            continue
        if isinstance(layer, Add | AddConstant):
            lowered[index] = addition(layer, sources, network.shapes[index])
        elif isinstance(layer, Linear):
            lowered[index] = state.arranged.chosen_parts(index, state.choice)
        else:
            lowered[index] = lower_layer(layer, sources, network.source_shapes(index), network.contract)
    lowered = dict(slices.read_through_slices(network, lowered, state.config))
    return state.replace(lowered=lowered, in_place=in_place)


def fuse(state: State) -> State:
    """Group layers that are computed together: an addition with the layer before it, if the residual memory allows it.

    Sets `groups`, in the order in which they are computed.
    """
    return state.replace(groups=fusion.fuse(state.network, state.lowered, state.config, state.batch))


def allocate(state: State) -> State:
    """Give every tensor an address, for as long as a fusion group needs it.

    Sets `memory`. Whether the machine's memories are large enough is checked by `emit`.
    """
    network, arrangements = state.network, state.choice.arrangements
    memory = memory_map.allocate_tensors(network, state.groups, state.in_place, arrangements, state.config, state.batch)
    return state.replace(memory=memory)


def choose_orders(state: State) -> State:
    """Choose the order of the passes of each fusion group: the fastest that the search finds with the timing model.

    Sets `orders` and `cycles`. If `state.beam` is 0, there is no search and `cycles` is 0.
    """
    draft = Emitter(state.config, state.memory, draft=True)
    if not state.beam:
        orders = [search.fewest_passes(group, draft, state.cache) for group in state.groups]
        return state.replace(orders=orders, cycles=0)
    only = "tiles" if state.streamed else None
    found, cycles = search.search_orders(state.groups, draft, state.cache, beam=state.beam, only=only)
    return state.replace(orders=found, cycles=cycles)


def emit(state: State) -> State:
    """Make the passes, drains, weights and parameters of the chosen orders.

    Sets `code`. Weights are stored in the order of the layers, so that their addresses do not depend on the orders.
    Raises CapacityError, which names every memory that is too small for the program or for its tensors.
    """
    config, batch, origin = state.config, state.batch, state.origin
    emitter = Emitter(config, state.memory)
    for group, order in zip(state.groups, state.orders, strict=True):
        emitter.reserve(group, order.method)
    passes: list[Pass] = []
    drains: list[Drain] = []
    labels: list[Label] = []
    writes: list[Write | None] = []
    bank = 0
    for group, order in zip(state.groups, state.orders, strict=True):
        pass_groups = emitter.groups(group, order, bank)
        assert pass_groups is not None, "only orders that can be emitted are chosen"
        for made in pass_groups:
            passes += made.passes
            drains += made.drains
            labels += [dataclasses.replace(label, layer=origin[label.layer]) for label in made.labels]
            writes += [write and dataclasses.replace(write, layer=origin[write.layer]) for write in made.writes]
        bank ^= len(pass_groups) % 2
    # Passes may have added tiles that are not reserved: those of zeros, for column tiles that no input reaches.
    weights, parameters = emitter.constants.tiles.words, emitter.constants.parameters
    code = Needs.code(passes, len(drains), len(weights), len(parameters), config)
    if short := (state.memory.needs | code).short(config):
        raise CapacityError.of(short, config, batch)
    return state.replace(code=Code(passes, drains, labels, writes, weights, parameters))


def synchronise(state: State) -> State:
    """Mark the passes that wait for the links or release memory to them, and the drain that commits the output.

    The first pass waits for the inputs, and the last that reads one releases them. The first pass with a drain to the
    output memory waits for a free half of it, and the last drain commits the outputs. In a streamed program the first
    pass of each column tile waits for its weights. Sets `code`.
    """
    passes, drains = list(state.code.passes), list(state.code.drains)
    flags = _flags(passes, drains, state.code.labels, streamed=state.streamed)
    for index, names in flags.items():
        changes: dict[str, Any] = dict.fromkeys(names, True)
        passes[index] = dataclasses.replace(passes[index], **changes)
    drains[-1] = dataclasses.replace(drains[-1], commit=True)
    return state.replace(code=dataclasses.replace(state.code, passes=passes, drains=drains))


def _flags(
    passes: Sequence[Pass], drains: Sequence[Drain], labels: Sequence[Label], *, streamed: bool
) -> dict[int, list[str]]:
    """Return the flags to set, by pass."""
    reading = [index for index, p in enumerate(passes) if p.source == Source.INPUT]
    writing = [
        index
        for index, released in enumerate(timing.drains_of(passes, drains))
        if any(drains[d].destination == Destination.OUTPUT for d in released)
    ]
    flags: dict[int, list[str]] = {index: [] for index in (0, reading[-1], writing[0])}
    flags[0].append("wait_input")
    flags[reading[-1]].append("release_input")
    flags[writing[0]].append("wait_output")
    if streamed:
        first_of_tile = {label.tile: index for index, label in reversed(list(enumerate(labels)))}
        for index in first_of_tile.values():
            flags.setdefault(index, []).append("wait_weights")
    return flags


def schedule(state: State) -> State:
    """Add the idle cycles that passes and chained drains need, so that no value is read before it is written.

    Sets `code`.
    """
    passes, drains = timing.schedule(state.code.passes, state.code.drains, state.config, once=state.once)
    return state.replace(code=dataclasses.replace(state.code, passes=passes, drains=drains))


def check(state: State) -> State:
    """Check that every instruction fits its fields; raises CapacityError if one does not. Sets nothing."""
    try:
        for instruction in (*state.code.passes, *state.code.drains):
            instruction.encode(state.config)
    except InstructionError as error:
        raise CapacityError(f"a pass or drain does not fit its fields: {error}") from None
    return state
