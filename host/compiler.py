"""From networks to programs: layers to groups of passes, memory layout, and the order that runs fastest.

A layer of K x N weights on M pixels is ceil(K / rows) x ceil(N / columns) tiles. A *group* of passes fills some
accumulator rows, and one drain empties them: either one column tile and a strip of pixels, tile after tile, or
several column tiles side by side, input block after input block. Which is better depends on what the layer waits for,
so the compiler schedules both and keeps the faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from etchnet.hdl.config import Config
from etchnet.hdl.isa import Counter, Destination, Drain, Fold, Parameters, Pass, RunCommand, Source, Target
from etchnet.host.network import Dense, Network, NetworkError
from etchnet.sim.timing import run_counts, schedule

__all__ = ["CapacityError", "Program", "channel_places", "compile_network", "tile_words", "words_per_pixel"]


class CapacityError(ValueError):
    """A network that does not fit its machine; the message names the memory, what is needed and what there is."""


@dataclass(frozen=True, eq=False)
class Program:
    """A network laid out for one machine: the contents of its memories, and how to feed it."""

    config: Config
    network: Network
    pixels: int
    """inputs that one repeat takes at once"""
    passes: list[Pass]
    drains: list[Drain]
    weights: np.ndarray
    """int8 (weight words, weight_rows, columns)"""
    parameters: list[int]
    """parameter words"""
    layers: list[int]
    """for each pass, the layer that it belongs to"""
    activation_words: int
    """activation memory words in use at once, at most"""

    @property
    def input_words(self) -> int:
        """Input memory words that one repeat takes."""
        return self.pixels * -(-self.network.inputs // self.config.rows)

    @property
    def output_words(self) -> int:
        """Output memory words that one repeat gives."""
        wide = self.network.layers[-1].wide
        return self.pixels * words_per_pixel(self.network.outputs, self.config, wide=wide)

    def command(self, repeats: int, *, first_pass: int = 0, first_drain: int = 0) -> RunCommand:
        """The run that takes `repeats` times `pixels` inputs."""
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

    def pack_inputs(self, x: np.ndarray) -> np.ndarray:
        """int8 (pixels, inputs) as memory words: int8 (input_words, rows), pixel after pixel."""
        blocks = -(-self.network.inputs // self.config.rows)
        words = np.zeros((self.pixels, blocks * self.config.rows), np.int8)
        words[: len(x), : x.shape[1]] = x
        return words.reshape(-1, self.config.rows)

    def unpack_outputs(self, words: np.ndarray) -> np.ndarray:
        """Memory words, uint8 (output_words, rows), as int8 or int32 (pixels, outputs)."""
        layer = self.network.layers[-1]
        size = self.config.rows
        flat = words.reshape(self.pixels, -1)
        if not layer.wide:
            return flat[:, channel_places(self.network.outputs, self.config)].view(np.int8)
        tile_bytes = self.config.words_per_pixel(wide=True) * size
        channel = np.arange(self.network.outputs)
        start = channel // self.config.columns * tile_bytes + channel % self.config.columns * 4
        return np.ascontiguousarray(flat[:, start[:, None] + np.arange(4)]).view("<i4")[..., 0]


def words_per_pixel(channels: int, config: Config, *, wide: bool = False) -> int:
    """Memory words that the output stage fills with `channels` results of one pixel."""
    tiles = -(-channels // config.columns)
    if wide:
        return tiles * config.words_per_pixel(wide=True)
    return -(-tiles // config.tiles_per_word) * config.words_per_pixel()


def channel_places(channels: int, config: Config) -> np.ndarray:
    """Where the output stage puts each int8 channel of a pixel: word * rows + lane."""
    channel = np.arange(channels)
    if config.tiles_per_word > 1:
        return channel
    tile, column = channel // config.columns, channel % config.columns
    return tile * config.words_per_pixel() * config.rows + column


def tile_words(tile: np.ndarray, config: Config) -> np.ndarray:
    """A tile of int8 (rows, columns) as weight words: int8 (load_cycles, weight_rows, columns)."""
    return tile.reshape(config.weight_rows, config.load_cycles, config.columns).transpose(1, 0, 2)


@dataclass(frozen=True)
class _Group:
    """Passes that share a drain: column tiles from `tile` on, pixels from `pixel` on."""

    tile: int
    tiles: int
    pixel: int
    pixels: int


def _strips(pixels: int, longest: int, shortest: int, *, short_end: bool) -> list[tuple[int, int]]:
    """Cut pixels into (first, count) strips; with `short_end` the last is short, so that its drain is."""
    ends = [*range(0, pixels, longest), pixels]
    if short_end and pixels - ends[-2] > shortest:
        ends.insert(-1, pixels - shortest)
    return [(a, b - a) for a, b in zip(ends, ends[1:], strict=False)]


def _tile_by_tile(tiles: int, pixels: int, config: Config) -> Iterator[_Group]:
    for tile in range(tiles):
        strips = _strips(pixels, config.accumulator_rows, config.load_cycles, short_end=tile == tiles - 1)
        for first, count in strips:
            yield _Group(tile, 1, first, count)


def _side_by_side(tiles: int, pixels: int, config: Config) -> Iterator[_Group]:
    for first, count in _strips(pixels, config.accumulator_rows, config.load_cycles, short_end=False):
        most = config.accumulator_rows // count
        for tile in range(0, tiles, most):
            yield _Group(tile, min(most, tiles - tile), first, count)


_ORDERS = (_tile_by_tile, _side_by_side)


class _Layout:
    """Where everything of a network lies, whatever the order of its passes."""

    def __init__(self, network: Network, config: Config, pixels: int) -> None:
        self.network, self.config, self.pixels = network, config, pixels
        rows, columns = config.rows, config.columns
        self.blocks: list[int] = []
        self.tiles: list[int] = []
        self.first_tile: list[int] = []
        self.first_parameter: list[int] = []
        self.rows_used: list[np.ndarray] = []
        stored: list[np.ndarray] = []
        parameters: list[int] = []
        for index, layer in enumerate(network.layers):
            terms, channels = layer.weights.shape
            if index:
                places, words = channel_places(terms, config), words_per_pixel(terms, config)
            else:
                places, words = np.arange(terms), -(-terms // rows)
            tiles = -(-channels // columns)
            padded = np.zeros((words * rows, tiles * columns), np.int8)
            padded[places, :channels] = layer.weights
            self.rows_used.append(np.bincount(places // rows, minlength=words))
            self.blocks.append(words)
            self.tiles.append(tiles)
            self.first_tile.append(len(stored))
            self.first_parameter.append(len(parameters))
            # Column tile after column tile, as they are streamed in.
            for tile in range(tiles):
                for block in range(words):
                    part = padded[block * rows : (block + 1) * rows, tile * columns : (tile + 1) * columns]
                    stored.append(tile_words(part, config))
            parameters += _parameter_words(layer, tiles, config)
        self.weights = np.concatenate(stored)
        self.parameters = parameters
        # Layers write by turns to the bottom and to the top of the activation memory.
        sizes = [pixels * words_per_pixel(layer.weights.shape[1], config) for layer in network.layers[:-1]]
        self.activations = [0 if i % 2 == 0 else config.activation_words - w for i, w in enumerate(sizes)]
        most = max([a + b for a, b in zip(sizes, sizes[1:], strict=False)] + sizes + [0])
        self._require("weight_tiles", len(stored), config.weight_tiles)
        self._require("parameter_tiles", sum(self.tiles), config.parameter_tiles)
        self.activation_words = most
        self._require("activation_words", most, config.activation_words)
        self._require("input_words", pixels * self.blocks[0], config.input_words)
        last = network.layers[-1]
        output = pixels * words_per_pixel(network.outputs, config, wide=last.wide)
        self._require("output_words", output, config.output_words)

    def _require(self, memory: str, needed: int, available: int) -> None:
        if needed > available:
            raise CapacityError(
                f"{memory}: {needed} needed for {self.pixels} input{'s'[: self.pixels != 1]} at once, "
                f"but the machine has {available}"
            )

    def emit(self, orders: Sequence[int], *, streamed: bool = False) -> tuple[list[Pass], list[Drain], list[int]]:
        """Passes without idle cycles, their drains, and the layer of each pass."""
        passes: list[Pass] = []
        drains: list[Drain] = []
        layers: list[int] = []
        bank = 0
        final = len(self.network.layers) - 1
        waits_output = True
        for index, layer in enumerate(self.network.layers):
            groups = list(_ORDERS[orders[index]](self.tiles[index], self.pixels, self.config))
            for number, group in enumerate(groups):
                to_output = index == final
                last_group = number == len(groups) - 1
                first = not passes
                for block in range(self.blocks[index]):
                    last_block = block == self.blocks[index] - 1
                    for tile in range(group.tiles):
                        release = last_block and tile == group.tiles - 1
                        passes.append(
                            self._pass(
                                index, group, block, tile, bank,
                                release=release,
                                wait_input=first and not block and not tile,
                                release_input=not index and last_group and release,
                                wait_output=release and to_output and waits_output,
                                wait_weights=streamed and not block and not group.pixel,
                            )
                        )  # fmt: skip
                        layers.append(index)
                waits_output &= not to_output
                drains.append(self._drain(index, layer, group, bank, commit=to_output and last_group))
                bank ^= 1
        self._require("passes", len(passes), self.config.passes)
        self._require("drains", len(drains), self.config.drains)
        return passes, drains, layers

    def _pass(self, index: int, group: _Group, block: int, tile: int, bank: int, **flags: bool) -> Pass:
        config = self.config
        column_tile = group.tile + tile
        stored = self.first_tile[index] + column_tile * self.blocks[index] + block
        channels = self.network.layers[index].weights.shape[1]
        columns_used = min(config.columns, channels - column_tile * config.columns)
        base = self.activations[index - 1] if index else 0
        return Pass(
            weights=stored * config.load_cycles,
            source=Source.ACTIVATION if index else Source.INPUT,
            address=base + group.pixel * self.blocks[index] + block,
            stride=self.blocks[index],
            pixels=group.pixels,
            bank=bank,
            row=tile * group.pixels,
            fold=Fold.ADD if block else Fold.SET,
            useful=int(self.rows_used[index][block]) * columns_used,
            **flags,  # type: ignore[arg-type]
        )

    def _drain(self, index: int, layer: Dense, group: _Group, bank: int, *, commit: bool) -> Drain:
        config = self.config
        final = index == len(self.network.layers) - 1
        stride = words_per_pixel(layer.weights.shape[1], config, wide=layer.wide)
        shared = 1 if layer.wide else config.tiles_per_word
        size = config.words_per_pixel(wide=layer.wide)
        base = 0 if final else self.activations[index]
        return Drain(
            bank=bank,
            tiles=group.tiles,
            pixels=group.pixels,
            parameters=(self.first_parameter[index] + group.tile * config.groups),
            raw=layer.wide,
            wide=layer.wide,
            zero_point=layer.zero_point,
            low=layer.low,
            high=layer.high,
            destination=Destination.OUTPUT if final else Destination.ACTIVATION,
            address=base + group.pixel * stride + group.tile // shared * size,
            stride=stride,
            tile_stride=size,
            lane=group.tile % shared,
            commit=commit,
        )


def _parameter_words(layer: Dense, tiles: int, config: Config) -> list[int]:
    """The parameters of a layer's channels, `requantisers` to a word; results of padding channels are never used."""
    assert config.requantisers is not None
    size = Parameters.layout(config).size
    channels = tiles * config.columns
    fields = {"bias": layer.folded_bias}
    if not layer.wide:
        left, right = layer.shifts
        fields |= {"multiplier": layer.multiplier, "left": left, "right": right}
    records = []
    for channel in range(channels):
        inside = channel < layer.weights.shape[1]
        values = {name: int(array[channel]) for name, array in fields.items()} if inside else {}
        records.append(Parameters(**values).encode(config))
    n = config.requantisers
    return [sum(record << lane * size for lane, record in enumerate(records[i : i + n])) for i in range(0, channels, n)]


def compile_network(
    network: Network, config: Config, *, pixels: int = 1, streamed: bool = False, once: bool = False
) -> Program:
    """The fastest program found for `pixels` inputs at once, by scheduling the order of every layer both ways.

    A `streamed` program goes column tile by column tile, and waits for one committed weights packet before each. One
    that runs `once` per command need not leave room for itself.

    Raises
    ------
    CapacityError
        The network does not fit the machine's memories.
    NetworkError
        A layer has another rounding contract than the machine.
    """
    if pixels < 1:
        raise CapacityError(f"pixels must be at least 1, not {pixels}")
    for index, layer in enumerate(network.layers):
        if not layer.wide and layer.contract != config.contract:
            raise NetworkError(f"layer {index} must round by the machine's {config.contract}, not by {layer.contract}")
    layout = _Layout(network, config, pixels)
    best: tuple[int, list[int]] | None = None
    tried: set[tuple[int, ...]] = set()
    failure: CapacityError | None = None

    def attempt(orders: list[int]) -> None:
        nonlocal best, failure
        if tuple(orders) in tried:
            return
        tried.add(tuple(orders))
        try:
            passes, drains, _ = layout.emit(orders, streamed=streamed)
        except CapacityError as error:
            failure = error
            return
        cycles = run_counts(schedule(passes, drains, config, once=once), drains, config)[Counter.CYCLES]
        if best is None or cycles < best[0]:
            best = cycles, list(orders)

    for order in range(1 if streamed else len(_ORDERS)):
        attempt([order] * len(network.layers))
    if best is not None and not streamed:
        for index in range(len(network.layers)):
            orders = list(best[1])
            orders[index] = 1 - orders[index]
            attempt(orders)
    if best is None:
        assert failure is not None
        raise failure
    passes, drains, layers = layout.emit(best[1], streamed=streamed)
    return Program(
        config=config,
        network=network,
        pixels=pixels,
        passes=schedule(passes, drains, config, once=once),
        drains=drains,
        weights=layout.weights,
        parameters=layout.parameters,
        layers=layers,
        activation_words=layout.activation_words,
    )
