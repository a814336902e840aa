"""From networks to programs: what is computed together, where tensors lie, and the order that runs fastest.

The steps: the host may pack the taps of a first layer side by side (`packing`); layers become parts (`lowering`) and
units, an addition being fused into the layer before it where the machine keeps residuals; tensors get places by their
lifetimes (`places`); and each unit's passes are emitted (`emitter`) in several orders, of which the exact timing model
keeps the fastest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.isa import (
    Counter,
    Destination,
    Drain,
    InstructionError,
    Pass,
    RunCommand,
    Source,
    Target,
    chunks,
)
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.allocation import CapacityError, Place, channel_places, words_per_pixel
from etchnet.host.compiler.emit.emitter import Emitter, Label, Option, Write
from etchnet.host.compiler.fusion import Unit, without_reshapes
from etchnet.host.compiler.im2col import Packing, packings
from etchnet.host.compiler.layout import Layout, lay_out, require
from etchnet.host.compiler.search import Drafts, choose, longest_strips
from etchnet.host.compiler.weight_tiles import tile_words
from etchnet.host.network.layers import NetworkError
from etchnet.host.network.network import INPUT, Network
from etchnet.sim.timing import drains_of, run_counts, schedule

__all__ = ["CapacityError", "Program", "channel_places", "compile_network", "tile_words", "words_per_pixel"]

_BEAM = 4
"""beginnings of a program that are kept while units are added"""


@dataclass(frozen=True, eq=False)
class Program:
    """A network laid out for one machine: the contents of its memories, and how to feed it."""

    config: Config
    network: Network
    batch: int
    """inputs that one repeat takes at once"""
    passes: list[Pass]
    drains: list[Drain]
    weights: np.ndarray
    """int8 (weight words, weight_rows, columns)"""
    parameters: list[int]
    """parameter words"""
    labels: list[Label]
    """for each pass, what it is for"""
    writes: list[Write | None]
    """for each drain, what it writes of which layer"""
    packing: Packing
    input_place: Place
    output_place: Place
    fused: list[int]
    """additions that are part of the layer before them"""
    methods: dict[int, Option]
    """for each layer that passes compute, the order that was chosen"""
    activation_words: int
    """activation memory words in use at once, at most"""
    residual_words: int
    """residual memory words in use at once, at most"""

    @property
    def layers(self) -> list[int]:
        """For each pass, the layer that it belongs to."""
        return [label.layer for label in self.labels]

    @property
    def input_words(self) -> int:
        """Input memory words that one repeat takes."""
        return self.input_place.size

    @property
    def output_words(self) -> int:
        """Output memory words that one repeat gives."""
        return self.output_place.size

    def command(self, repeats: int, *, first_pass: int = 0, first_drain: int = 0) -> RunCommand:
        """The run that takes `repeats` times `batch` inputs."""
        return RunCommand(
            first_pass=first_pass,
            passes=len(self.passes),
            first_drain=first_drain,
            drains=len(self.drains),
            output_words=self.output_words,
            repeats=repeats,
        )

    def image(self) -> dict[Target, list[int]]:
        """Memory words, by what they are: what a machine with this network inside is built with."""
        weights = self.weights.reshape(len(self.weights), -1).view(np.uint8)
        return {
            Target.PASSES: [p.encode(self.config) for p in self.passes],
            Target.DRAINS: [d.encode(self.config) for d in self.drains],
            Target.PARAMETERS: self.parameters,
            Target.WEIGHTS: [int.from_bytes(word.tobytes(), "little") for word in weights],
        }

    def counts(self, repeats: int = 1) -> dict[Counter, int]:
        """What the machine's counters will read after a run that never waits for its links."""
        return run_counts(self.passes, self.drains, self.config, repeats=repeats)

    def link_cycles(self) -> tuple[int, int]:
        """Link words that one repeat's inputs and results take, headers left out: (in, out)."""
        beats = chunks(8 * self.config.rows, self.config)
        return self.input_words * beats, self.output_words * beats

    @property
    def repeat_cycles(self) -> int:
        """Cycles from one repeat to the next: those of the array, or the words of the slower link."""
        return max(self.counts(2)[Counter.CYCLES] - self.counts()[Counter.CYCLES], *self.link_cycles())

    def pack_inputs(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, inputs), M at most `batch`, as memory words: int8 (input_words, rows), pixel after pixel."""
        return self.pack_repeats(x)[0]

    def pack_repeats(self, x: np.ndarray) -> np.ndarray:
        """int8 (M, inputs) as the inputs of as many repeats as it takes: int8 (repeats, input_words, rows)."""
        repeats = ceil_div(len(x), self.batch)
        images = x
        if len(x) < repeats * self.batch:
            images = np.zeros((repeats * self.batch, self.network.inputs), np.int8)
            images[: len(x)] = x
        assert self.network.input_shape is not None
        images = self.packing.apply(images.reshape(-1, *self.network.input_shape))
        pixels = images.reshape(-1, self.input_place.shape[2])
        size = self.input_place.words * self.config.rows
        if pixels.shape[1] == size:
            return pixels.reshape(repeats, -1, self.config.rows)
        words = np.zeros((len(pixels), size), np.int8)
        words[:, : pixels.shape[1]] = pixels
        return words.reshape(repeats, -1, self.config.rows)

    def unpack_outputs(self, words: np.ndarray) -> np.ndarray:
        """Memory words, uint8 (output_words, rows), as int8 or int32 (batch, outputs)."""
        return self.unpack_repeats(words[None])

    def unpack_repeats(self, words: np.ndarray) -> np.ndarray:
        """The same of many repeats: uint8 (repeats, output_words, rows) as (repeats x batch, outputs)."""
        place, config = self.output_place, self.config
        flat = words.reshape(len(words) * self.batch * place.pixels, -1)
        images = len(words) * self.batch
        if not self.network.wide:
            count = len(place.channels)
            dense = place.channels[-1] == count - 1 and bool((np.diff(place.channels) == 1).all())
            chosen = flat[:, :count] if dense else flat[:, place.channels]
            return np.ascontiguousarray(chosen).view(np.int8).reshape(images, -1)
        tile_bytes = config.words_per_pixel(wide=True) * config.rows
        channel = np.arange(place.shape[2])
        start = channel // config.columns * tile_bytes + channel % config.columns * 4
        values = np.ascontiguousarray(flat[:, start[:, None] + np.arange(4)]).view("<i4")[..., 0]
        return values.reshape(images, -1)


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
        False keeps one beginning of a program while units are added, not several: less time, perhaps more cycles.

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
    simple, origin = without_reshapes(network)
    only = "tiles" if streamed else None
    found = packings(simple, config.rows)
    if packed is not None and packed not in (names := [p.name for p in found]):
        raise NetworkError(f"packed must be one of {', '.join(names)} for this network, not {packed!r}")
    failures: list[CapacityError] = []
    plans: list[_Plan] = []
    drafts = Drafts()
    for packing in found:
        try:
            if packed in (None, packing.name):
                plans.append(_plan(packing, config, batch, only, drafts, width=1))
        except CapacityError as error:
            failures.append(error)
    plans.sort(key=lambda plan: plan.cost(config))
    if thorough and plans and len(plans[0].units) > 1:
        plans.insert(0, _plan(plans[0].packing, config, batch, only, drafts, width=_BEAM))
        plans.sort(key=lambda plan: plan.cost(config))
    # What does not fit the program memory, or takes too many tiles, shows when all is emitted: then the next best may,
    # and at last the order with the fewest passes.
    emitted: list[CapacityError] = []
    shortest = [dataclasses.replace(p, chosen=[longest_strips(unit, config) for unit in p.units]) for p in plans]
    for plan in (*plans, *shortest):
        try:
            return _finish(plan, network, origin, config, batch, streamed=bool(streamed), once=once)
        except CapacityError as error:
            emitted.append(error)
    raise min(emitted, key=lambda error: error.needed) if emitted else failures[0]


@dataclass(frozen=True, eq=False)
class _Plan:
    packing: Packing
    units: Sequence[Unit]
    layout: Layout
    chosen: Sequence[Option]
    cycles: int

    def cost(self, config: Config) -> int:
        """Cycles, or those that the link takes for the input where it is slower."""
        return max(self.cycles, self.layout.places[INPUT].size * chunks(8 * config.rows, config))


def _emitter(plan_layout: Layout, config: Config, batch: int, *, draft: bool = False) -> Emitter:
    return Emitter(
        config, plan_layout.places, plan_layout.shapes, plan_layout.residual, plan_layout.output, batch, draft=draft
    )


def _plan(packing: Packing, config: Config, batch: int, only: str | None, drafts: Drafts, *, width: int) -> _Plan:
    units, layout = lay_out(packing.network, config, batch)
    chosen, cycles = choose(units, _emitter(layout, config, batch, draft=True), config, only, width, drafts)
    return _Plan(packing, units, layout, chosen, cycles)


def _finish(
    plan: _Plan, network: Network, origin: Sequence[int], config: Config, batch: int, *, streamed: bool, once: bool
) -> Program:
    """Emit the chosen orders with everything in its place, and mark what passes wait for and give back."""
    emitter = _emitter(plan.layout, config, batch)
    for unit, option in zip(plan.units, plan.chosen, strict=True):
        emitter.reserve(unit, option.method)
    words, parameters = emitter.tiles.words, emitter.parameters
    _require_words("weight_tiles", len(words), config.load_cycles, config, batch)
    _require_words("parameter_tiles", len(parameters), config.groups, config, batch)
    passes: list[Pass] = []
    drains: list[Drain] = []
    labels: list[Label] = []
    writes: list[Write | None] = []
    bank = 0
    for unit, option in zip(plan.units, plan.chosen, strict=True):
        groups = emitter.groups(unit, option, bank)
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
        packing=plan.packing,
        input_place=plan.layout.places[INPUT],
        output_place=plan.layout.places[plan.layout.output],
        fused=[origin[unit.result] for unit in plan.units if unit.fused],
        methods={origin[unit.layer]: option for unit, option in zip(plan.units, plan.chosen, strict=True)},
        activation_words=plan.layout.activation_words,
        residual_words=plan.layout.residual_words,
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
