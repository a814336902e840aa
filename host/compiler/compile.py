"""From networks to programs: what is computed together, where tensors lie, and the order that runs fastest.

The steps: the host may unfold the input of a first layer (`im2col`); layers become parts (`lowering`) and fusion
groups (`fusion`); tensors get addresses by their lifetimes (`allocation`); and the passes of each group are emitted
(`emit`) in several orders, of which the exact timing model keeps the fastest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from etchnet.hdl.isa import Destination, Drain, InstructionError, Pass, Source, chunks
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.allocation import MemoryMap, allocate_tensors
from etchnet.host.compiler.capacity import CapacityError, require
from etchnet.host.compiler.emit.emitter import Emitter, Label, Option, Write
from etchnet.host.compiler.fusion import FusionGroup, strip_reshapes
from etchnet.host.compiler.im2col import Im2col, im2col_variants
from etchnet.host.compiler.program import Program
from etchnet.host.compiler.search import ScheduleCache, choose, longest_strips
from etchnet.host.network.layers import NetworkError
from etchnet.host.network.network import INPUT, Network
from etchnet.sim.timing import drains_of, schedule

__all__ = ["compile_network"]

_BEAM = 4
"""beginnings of a program that are kept while fusion_groups are added"""


def compile_network(
    network: Network,
    config: Config,
    *,
    batch: int = 1,
    streamed: bool | None = None,
    once: bool = False,
    packed: str | None = None,
    thorough: bool = True,
) -> Program:
    """The fastest program found for `batch` inputs at once.

    Parameters
    ----------
    streamed
        Of a single fully connected layer: true for a program that goes column tile by column tile, and waits for one
        committed weights packet before each.
    once
        Whether it runs once per command, so that it need not leave room for itself.
    packed
        How the host packs the input (`none`, `row` or `whole`); by default what takes the fewest cycles, link included.
    thorough
        False keeps one partial schedule, not several: compiles faster, perhaps to more cycles.

    Raises
    ------
    CapacityError
        The network does not fit the machine's memories.
    NetworkError
        The network rounds by another contract than the machine, or has a layer that no passes compute.
    """
    if batch < 1:
        raise CapacityError(f"batch must be at least 1, not {batch}")
    if network.contract != config.contract and any(not layer.wide for layer in network.layers):
        raise NetworkError(f"the network must round by the machine's {config.contract}, not by {network.contract}")
    simple, origin = strip_reshapes(network)
    only = "tiles" if streamed else None
    found = im2col_variants(simple, config.rows)
    if packed is not None and packed not in (names := [p.name for p in found]):
        raise NetworkError(f"packed must be one of {', '.join(names)} for this network, not {packed!r}")
    failures: list[CapacityError] = []
    plans: list[_Plan] = []
    cache = ScheduleCache()
    for im2col in found:
        try:
            if packed in (None, im2col.name):
                plans.append(_plan(im2col, config, batch, only, cache, width=1))
        except CapacityError as error:
            failures.append(error)
    plans.sort(key=lambda plan: plan.cost(config))
    if thorough and plans and len(plans[0].fusion_groups) > 1:
        plans.insert(0, _plan(plans[0].im2col, config, batch, only, cache, width=_BEAM))
        plans.sort(key=lambda plan: plan.cost(config))
    # What does not fit the program memory, or takes too many tiles, shows when all is emitted: then the next best may,
    # and at last the order with the fewest passes.
    emitted: list[CapacityError] = []
    shortest = [
        dataclasses.replace(p, chosen=[longest_strips(fusion, config) for fusion in p.fusion_groups]) for p in plans
    ]
    for plan in (*plans, *shortest):
        try:
            return _finish(plan, network, origin, config, batch, streamed=bool(streamed), once=once)
        except CapacityError as error:
            emitted.append(error)
    raise min(emitted, key=lambda error: error.needed) if emitted else failures[0]


@dataclass(frozen=True, eq=False)
class _Plan:
    im2col: Im2col
    fusion_groups: Sequence[FusionGroup]
    memory: MemoryMap
    chosen: Sequence[Option]
    cycles: int

    def cost(self, config: Config) -> int:
        """Cycles, or those that the link takes for the input where it is slower."""
        return max(self.cycles, self.memory.layouts[INPUT].size * chunks(8 * config.rows, config))


def _emitter(memory: MemoryMap, config: Config, batch: int, *, draft: bool = False) -> Emitter:
    return Emitter(config, memory.layouts, memory.shapes, memory.residual, memory.output, batch, draft=draft)


def _plan(im2col: Im2col, config: Config, batch: int, only: str | None, cache: ScheduleCache, *, width: int) -> _Plan:
    fusion_groups, memory = allocate_tensors(im2col.network, config, batch)
    chosen, cycles = choose(fusion_groups, _emitter(memory, config, batch, draft=True), config, only, width, cache)
    return _Plan(im2col, fusion_groups, memory, chosen, cycles)


def _finish(
    plan: _Plan, network: Network, origin: Sequence[int], config: Config, batch: int, *, streamed: bool, once: bool
) -> Program:
    """Emit the chosen orders with everything at its address, and mark what passes wait for and give back."""
    emitter = _emitter(plan.memory, config, batch)
    for fusion, option in zip(plan.fusion_groups, plan.chosen, strict=True):
        emitter.reserve(fusion, option.method)
    words, parameters = emitter.tiles.words, emitter.parameters
    _require_words("weight_tiles", len(words), config.load_cycles, config, batch)
    _require_words("parameter_tiles", len(parameters), config.groups, config, batch)
    passes: list[Pass] = []
    drains: list[Drain] = []
    labels: list[Label] = []
    writes: list[Write | None] = []
    bank = 0
    for fusion, option in zip(plan.fusion_groups, plan.chosen, strict=True):
        groups = emitter.groups(fusion, option, bank)
        assert groups is not None
        for group in groups:
            passes += group.passes
            drains += group.drains
            labels += [dataclasses.replace(label, layer=origin[label.layer]) for label in group.labels]
            writes += [w and dataclasses.replace(w, layer=origin[w.layer]) for w in group.writes]
        bank ^= len(groups) % 2
    require("passes", len(passes), config, batch)
    require("drains", len(drains), config, batch)
    _mark(passes, drains, labels, streamed=streamed)
    try:
        passes, drains = schedule(passes, drains, config, once=once)
        for instruction in (*passes, *drains):
            instruction.encode(config)
    except InstructionError as error:
        raise CapacityError(f"a pass or drain does not fit its fields: {error}") from None
    return Program(
        config=config,
        network=network,
        batch=batch,
        passes=passes,
        drains=drains,
        weights=words,
        parameters=parameters,
        labels=labels,
        writes=writes,
        im2col=plan.im2col,
        input_layout=plan.memory.layouts[INPUT],
        output_layout=plan.memory.layouts[plan.memory.output],
        fused=[origin[fusion.result] for fusion in plan.fusion_groups if fusion.fused],
        methods={origin[fusion.layer]: option for fusion, option in zip(plan.fusion_groups, plan.chosen, strict=True)},
        activation_words=plan.memory.activation_words,
        residual_words=plan.memory.residual_words,
    )


def _require_words(memory: str, words: int, each: int, config: Config, batch: int) -> None:
    require(memory, ceil_div(words, each), config, batch)


def _mark(passes: list[Pass], drains: list[Drain], labels: Sequence[Label], *, streamed: bool) -> None:
    """What passes wait for, and what they give back; and the drain that commits the output."""
    started = drains_of(passes, drains)
    reading = [i for i, p in enumerate(passes) if p.source == Source.INPUT]
    writing = [
        i for i, behind in enumerate(started) if any(drains[d].destination == Destination.OUTPUT for d in behind)
    ]
    changes: dict[int, dict[str, bool]] = {i: {} for i in (0, reading[-1], writing[0])}
    changes[0]["wait_input"] = True
    changes[reading[-1]]["release_input"] = True
    changes[writing[0]]["wait_output"] = True
    if streamed:
        seen: set[int] = set()
        for index, label in enumerate(labels):
            if label.tile not in seen:
                changes.setdefault(index, {})["wait_weights"] = True
                seen.add(label.tile)
    for index, flags in changes.items():
        passes[index] = dataclasses.replace(passes[index], **flags)  # type: ignore[arg-type]
    drains[-1] = dataclasses.replace(drains[-1], commit=True)
