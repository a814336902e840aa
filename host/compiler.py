"""From networks to programs: what is computed together, where tensors lie, and the order that runs fastest.

The steps: the host may pack the taps of a first layer side by side (`packing`); layers become parts (`lowering`) and
units, an addition being fused into the layer before it where the machine keeps residuals; tensors get places by their
lifetimes (`places`); and each unit's passes are emitted (`emitter`) in several orders, of which the exact timing model
keeps the fastest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etchnet.hdl.config import Config
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
from etchnet.host.emitter import Emitter, Fused, Group, Label, Option, Unit, Write, options, tile_words
from etchnet.host.layers import Add, Dense, Linear, NetworkError, Reshape, Shape
from etchnet.host.lowering import Part, Region, addition, is_alias, lower
from etchnet.host.network import INPUT, Network
from etchnet.host.packing import Packing, packings
from etchnet.host.places import CapacityError, Lifetime, Place, allocate, channel_places, words_per_pixel
from etchnet.sim.timing import Timeline, drains_of, run_counts, schedule

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
        images = np.zeros((self.batch, self.network.inputs), np.int8)
        images[: len(x)] = x
        assert self.network.input_shape is not None
        images = self.packing.apply(images.reshape(self.batch, *self.network.input_shape))
        pixels = images.reshape(-1, self.input_place.shape[2])
        words = np.zeros((len(pixels), self.input_place.words * self.config.rows), np.int8)
        words[:, : pixels.shape[1]] = pixels
        return words.reshape(-1, self.config.rows)

    def unpack_outputs(self, words: np.ndarray) -> np.ndarray:
        """Memory words, uint8 (output_words, rows), as int8 or int32 (batch, outputs)."""
        place, size = self.output_place, self.config.rows
        flat = words.reshape(self.batch * place.pixels, -1)
        if not self.network.wide:
            return np.ascontiguousarray(flat[:, place.channels]).view(np.int8).reshape(self.batch, -1)
        tile_bytes = self.config.words_per_pixel(wide=True) * size
        channel = np.arange(place.shape[2])
        start = channel // self.config.columns * tile_bytes + channel % self.config.columns * 4
        values = np.ascontiguousarray(flat[:, start[:, None] + np.arange(4)]).view("<i4")[..., 0]
        return values.reshape(self.batch, -1)


# Networks as the array computes them


def _sources(network: Network) -> list[tuple[int, ...]]:
    assert network.sources is not None
    return [tuple(s) for s in network.sources]


def _without_reshapes(network: Network) -> tuple[Network, list[int]]:
    """The network without the reshapes that change nothing in memory or are read by fully connected layers alone.

    Returns the network, and for each of its layers the index in the original.
    """
    sources = _sources(network)
    layers = list(network.layers)
    input_shape: Shape | None = network.input_shape
    shapes = network.shapes

    def shape(index: int) -> Shape:
        assert network.input_shape is not None
        return network.input_shape if index == INPUT else shapes[index]

    first = network.readers(INPUT)
    if len(first) == 1 and isinstance(layers[first[0]], Reshape) and len(layers) > 1:
        # The host packs inputs in whatever shape they are read.
        input_shape = shapes[first[0]]
        sources = [tuple(INPUT if s == first[0] else s for s in which) for which in sources]
        sources[first[0]] = ()
    for index, layer in enumerate(layers):
        through = []
        for source in sources[index]:
            at = source
            while at != INPUT and isinstance(reshape := layers[at], Reshape) and sources[at]:
                below = sources[at][0]
                if not (isinstance(layer, Dense) or shape(below) == reshape.size):
                    break
                at = below
            through.append(at)
        sources[index] = tuple(through)
    last = len(layers) - 1
    while isinstance(layers[last], Reshape) and sources[last] and sources[last][0] != INPUT:
        last = sources[last][0]
    needed, stack = set(), [last]
    while stack:
        if (index := stack.pop()) != INPUT and index not in needed:
            needed.add(index)
            stack += sources[index]
    order = sorted(needed)
    number = {INPUT: INPUT} | {old: new for new, old in enumerate(order)}
    kept = Network(
        [layers[i] for i in order], input_shape, [[number[s] for s in sources[i]] for i in order], network.contract
    )
    return kept, order


def _fusible(network: Network, config: Config) -> dict[int, tuple[int, int]]:
    """Additions that can be part of the layer before them: addition to (that layer, the layer kept as residual)."""
    found: dict[int, tuple[int, int]] = {}
    sources, inside = _sources(network), set()
    if not config.residual_words:
        return found
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, Add):
            continue
        pairs = [
            (a, b)
            for a, b in (sources[index], sources[index][::-1])
            if a != b
            and INPUT not in (a, b)
            and isinstance(network.layers[a], Linear)
            and network.readers(a) == [index]
            and not isinstance(network.layers[b], Reshape)  # it may be no more than another's memory
            and b not in inside
        ]
        if pairs:
            # The longer it computes, the more of the addition is hidden behind it.
            found[index] = max(pairs, key=lambda p: network.layers[p[0]].multiplications(*network.source_shapes(p[0])))
            inside.add(found[index][0])
    return found


def _aliases(network: Network, config: Config) -> set[int]:
    """Reshaped tensors that lie in memory as those that they are made of, which the output stage wrote."""
    found: set[int] = set()
    for index, layer in enumerate(network.layers):
        source = _sources(network)[index][0]
        last = index == len(network.layers) - 1
        if isinstance(layer, Reshape) and source != INPUT and not last:
            if is_alias(layer, network.source_shapes(index)[0], config):
                found.add(index)
    return found


def _units(network: Network, fusible: Mapping[int, tuple[int, int]], aliases: set[int]) -> list[Unit]:
    """Units in an order in which each comes behind those that it reads."""
    units, sources = [], _sources(network)
    delayed = {first: index for index, (first, _) in fusible.items()}

    def parts(index: int) -> list[Part]:
        return lower(network.layers[index], sources[index], network.source_shapes(index), network.contract)

    for index, layer in enumerate(network.layers):
        if index in aliases or index in delayed:
            continue
        if not isinstance(layer, Add):
            units.append(Unit(index, index, parts(index)))
            continue
        shape = network.shapes[index]
        operands, scaled, result = addition(layer, sources[index], shape)
        if index in fusible:
            before, residual = fusible[index]
            which = sources[index].index(before)
            fused = Fused(index, residual, scaled[which], scaled[1 - which], result)
            units.append(Unit(before, index, parts(before), fused=fused))
        else:
            part = Part(Region(0, 0, shape[0], shape[1]), shape[2], operands, result)
            units.append(Unit(index, index, [part], pair=(operands, scaled, result)))
    return units


# Memory


@dataclass(eq=False)
class _Layout:
    """Where the tensors of a network lie."""

    places: dict[int, Place] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    residual: dict[int, int] = field(default_factory=dict)
    output: int = 0
    activation_words: int = 0
    residual_words: int = 0


def _root(network: Network, tensor: int, aliases: set[int]) -> int:
    """The tensor whose memory a reshaped one is."""
    while tensor in aliases:
        tensor = _sources(network)[tensor][0]
    return tensor


def _lay_out(network: Network, units: Sequence[Unit], reshaped: set[int], config: Config, images: int) -> _Layout:
    assert network.input_shape is not None
    layout = _Layout(output=len(network.layers) - 1)
    layout.shapes = {INPUT: network.input_shape} | dict(enumerate(network.shapes))
    step = {unit.result: number for number, unit in enumerate(units)}
    read: dict[int, int] = {}
    aliases: list[tuple[int, int]] = []
    for number, unit in enumerate(units):
        for source in unit.sources:
            root = _root(network, source, reshaped)
            read[root] = number
            if root != source:
                aliases.append((source, root))
    layout.places[INPUT] = Place.packed(network.input_shape, images, config)
    _require("input_words", layout.places[INPUT].size, config, images)
    output = Place.written(network.output_shape, images, config, wide=network.wide)
    layout.places[layout.output] = output
    _require("output_words", output.size, config, images)
    stored = [tensor for tensor in read if tensor not in (INPUT, layout.output)]
    found = {tensor: Place.written(network.shapes[tensor], images, config) for tensor in stored}
    bases, layout.activation_words = allocate([Lifetime(found[t].size, step[t], read[t]) for t in stored])
    _require("activation_words", layout.activation_words, config, images)
    for tensor, base in zip(stored, bases, strict=True):
        layout.places[tensor] = dataclasses.replace(found[tensor], base=base)
    for tensor, root in aliases:
        shape = layout.shapes[tensor]
        layout.places[tensor] = dataclasses.replace(Place.written(shape, images, config), base=layout.places[root].base)
    kept: dict[int, int] = {}
    for number, unit in enumerate(units):
        if unit.fused:
            kept[unit.fused.residual] = number
    lifetimes = []
    for tensor, last in kept.items():
        height, width, channels = layout.shapes[tensor]
        lifetimes.append(Lifetime(images * height * width * -(-channels // config.columns), step[tensor], last))
    bases, layout.residual_words = allocate(lifetimes)
    layout.residual = dict(zip(kept, bases, strict=True))
    return layout


def _require(memory: str, needed: int, config: Config, images: int) -> None:
    if needed > getattr(config, memory):
        raise CapacityError.of(memory, needed, config, images)


def _fused_units(network: Network, config: Config, images: int) -> tuple[list[Unit], _Layout]:
    """Units with as many additions fused as the residual memory takes, the largest given up first."""
    fusible = _fusible(network, config)
    aliases = _aliases(network, config)
    while True:
        units = _units(network, fusible, aliases)
        layout = _lay_out(network, units, aliases, config, images)
        if layout.residual_words <= (config.residual_words or 0):
            return units, layout
        largest = max(fusible, key=lambda index: int(np.prod(network.shapes[index])))
        del fusible[largest]


# Orders


@dataclass(eq=False)
class _Beginning:
    """A program so far: its timeline, and the order chosen for each unit."""

    timeline: Timeline
    bank: int
    chosen: list[Option]


def _extend(beginning: _Beginning, groups: Sequence[Group], option: Option) -> _Beginning:
    timeline = beginning.timeline.copy()
    for group in groups:
        for index, p in enumerate(group.passes):
            drains = group.drains if index == len(group.passes) - 1 else ()
            timeline.place(p, drains, timeline.earliest(p, drains))
    return _Beginning(timeline, beginning.bank ^ len(groups) % 2, [*beginning.chosen, option])


def _choose(
    units: Sequence[Unit], emitter: Emitter, config: Config, only: str | None, width: int
) -> tuple[list[Option], int]:
    """An order for every unit, by a beam search over the exact timing model, and the cycle of the last write."""
    beam = [_Beginning(Timeline(config), 0, [])]
    for unit in units:
        extended: list[_Beginning] = []
        for option in options(unit, config, emitter.images, alone=len(units) == 1):
            if only is not None and option.order != only:
                continue
            for bank in sorted({beginning.bank for beginning in beam}):
                groups = emitter.groups(unit, option, bank)
                if groups is not None:
                    extended += [_extend(b, groups, option) for b in beam if b.bank == bank]
        # Some are ahead in issuing, others in writing results: which is worth more shows later.
        by_slot = sorted(extended, key=lambda b: (b.timeline.slot, b.timeline.busy_until))
        by_write = sorted(extended, key=lambda b: (b.timeline.busy_until, b.timeline.slot))
        beam = list(dict.fromkeys([*by_write[: (width + 1) // 2], *by_slot[: width // 2]]))
    best = min(beam, key=lambda b: b.timeline.busy_until)
    return best.chosen, best.timeline.busy_until


def compile_network(
    network: Network, config: Config, *, batch: int = 1, streamed: bool | None = None, once: bool = False,
    packed: str | None = None,
) -> Program:  # fmt: skip
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
    simple, origin = _without_reshapes(network)
    only = "tiles" if streamed else None
    best: tuple[int, _Plan] | None = None
    failure: CapacityError | None = None
    found = packings(simple, config.rows)
    if packed is not None and packed not in (names := [p.name for p in found]):
        raise NetworkError(f"packed must be one of {', '.join(names)} for this network, not {packed!r}")
    for packing in found:
        if packed is not None and packing.name != packed:
            continue
        try:
            plan = _plan(packing, config, batch, only, width=1)
        except CapacityError as error:
            failure = failure or error
            continue
        cycles = max(plan.cycles, plan.layout.places[INPUT].size * chunks(8 * config.rows, config))
        if best is None or cycles < best[0]:
            best = cycles, plan
    if best is None:
        assert failure is not None
        raise failure
    plan = best[1]
    if len(plan.units) > 1:
        wider = _plan(plan.packing, config, batch, only, width=_BEAM)
        plan = min(plan, wider, key=lambda p: p.cycles)
    return _finish(plan, network, origin, config, batch, streamed=bool(streamed), once=once)


@dataclass(frozen=True, eq=False)
class _Plan:
    packing: Packing
    units: Sequence[Unit]
    layout: _Layout
    chosen: Sequence[Option]
    cycles: int


def _emitter(plan_layout: _Layout, config: Config, batch: int) -> Emitter:
    return Emitter(config, plan_layout.places, plan_layout.shapes, plan_layout.residual, plan_layout.output, batch)


def _plan(packing: Packing, config: Config, batch: int, only: str | None, *, width: int) -> _Plan:
    units, layout = _fused_units(packing.network, config, batch)
    chosen, cycles = _choose(units, _emitter(layout, config, batch), config, only, width)
    return _Plan(packing, units, layout, chosen, cycles)


def _finish(plan: _Plan, network: Network, origin: Sequence[int], config: Config, batch: int, *, streamed: bool,
            once: bool) -> Program:  # fmt: skip
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
    _require("passes", len(passes), config, batch)
    _require("drains", len(drains), config, batch)
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
    _require(memory, -(-words // each), config, batch)


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
