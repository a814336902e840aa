"""From parts of layers to passes and drains.

A *strip* is a run or rectangle of result pixels that fits an accumulator bank. A *group* is a strip of one or more
column tiles: its passes fill accumulator rows of one bank, and the drains behind its last pass empty them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.numbers import ceil_div
from etchnet.host.compiler.capacity import CapacityError
from etchnet.host.compiler.fusion import FusionGroup, column_tiles
from etchnet.host.compiler.layout import TensorLayout
from etchnet.host.compiler.lowering import Operand, Output, Part, parameter_words, passed
from etchnet.host.compiler.weight_tiles import TileTable
from etchnet.host.network.layers import Shape
from etchnet.host.network.network import INPUT
from etchnet.sim.timing import GroupFootprint, IdleCycles, InterleavedPasses, Timeline, words_read

__all__ = ["Emitter", "Label", "Option", "PassGroup", "Write"]

_Fields = dict[str, Any]
"""Of a drain, by name."""
_INT32 = {"low": -(1 << 31), "high": (1 << 31) - 1}


@dataclass(frozen=True)
class Label:
    """What a pass is for: its layer, the tap or taps, the input word and the column tile, the strip's first pixel."""

    layer: int
    tap: str
    word: int
    tile: int
    pixel: int


@dataclass(frozen=True)
class Write:
    """What a drain writes of a layer's result: column tiles and pixels, counted over all images; None: nothing yet."""

    layer: int
    tile: int
    tiles: int
    pixel: int
    pixels: int


@dataclass
class PassGroup:
    """Passes with their labels, and the drains behind the last of them."""

    passes: list[Pass] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    drains: list[Drain] = field(default_factory=list)
    writes: list[Write | None] = field(default_factory=list)
    taken: GroupFootprint | None = None
    """what a timeline takes of it, once it is known"""

    @property
    def size(self) -> int:
        """How many passes there are."""
        return len(self.passes)

    @property
    def pixels(self) -> list[int]:
        """Of every pass."""
        return [p.pixels for p in self.passes]

    def follow(self, timeline: Timeline) -> IdleCycles:
        """Append it to a timeline."""
        if self.taken is None:
            self.taken = GroupFootprint.of(self.passes, self.drains, timeline.config)
        return timeline.place_group(self.taken)


class TapGroup(PassGroup):
    """The same of a pass per operand, word, tap and column tile; only their timing is known until they are asked for.

    Parameters
    ----------
    turns
        What the passes are, as far as their timing goes.
    emit
        Gives passes and labels.
    """

    def __init__(self, turns: Sequence[InterleavedPasses], emit: Callable[[], PassGroup]) -> None:
        self.turns, self._emit = turns, emit
        self.drains, self.writes, self.taken = [], [], None

    @cached_property
    def _emitted(self) -> PassGroup:
        group = self._emit()
        group.passes[-1] = dataclasses.replace(group.passes[-1], release=True)
        return group

    @property
    def passes(self) -> list[Pass]:  # type: ignore[override]
        """Of all column tiles."""
        return self._emitted.passes

    @property
    def labels(self) -> list[Label]:  # type: ignore[override]
        """What the passes are for."""
        return self._emitted.labels

    @property
    def size(self) -> int:
        """How many passes there are."""
        return sum(len(turns.tiles) for turns in self.turns)

    @property
    def pixels(self) -> list[int]:
        """Of every pass."""
        return [self.turns[0].pixels] * self.size

    def follow(self, timeline: Timeline) -> IdleCycles:
        """Append it to a timeline."""
        if self.taken is None:
            self.taken = GroupFootprint.of(self.turns, self.drains, timeline.config)
        return timeline.place_group(self.taken)


@dataclass(frozen=True)
class Option:
    """One way of ordering a fusion's passes.

    Attributes
    ----------
    method
        `taps`: a pass per tap; `window`: depthwise passes; `hold`: a pass per result pixel, all taps into one row;
        `pair`: a pass for each operand of an addition, each into its own bank.
    order
        `tiles`: column tile after column tile; `strips`: strip after strip; `side`: column tiles side by side in a
        bank.
    rows
        Accumulator rows of a group at most.
    """

    method: str
    order: str
    rows: int


@dataclass(frozen=True)
class _Strip:
    """Result pixels, `first` to `first` + `count` - 1 over all images; a rectangle where `lines` is not 0."""

    first: int
    count: int
    image: int = 0
    y: int = 0
    x: int = 0
    lines: int = 0
    columns: int = 0


@dataclass(frozen=True, eq=False)
class _Order:
    """The passes of one operand: (input word, tap, column tile) of each."""

    operand: Operand
    passes: list[tuple[int, int, int]]
    tiles: list[int]
    """column tiles, counted from the group's first"""
    even: int
    """how many column tiles take turns; 0 where some leave turns out"""


class Emitter:
    """Emits the fusion groups of one network for one machine, once it is known where everything lies.

    Parameters
    ----------
    layouts
        Of the input and of every tensor in the activation or output memory, by layer.
    shapes
        Of the input and of every layer's result.
    residual
        First residual word of the tensors that are kept there too, column tile after column tile.
    output
        The layer whose result goes to the output memory.
    images
        Inputs at once.
    draft
        Whether nothing but the timing matters: then weights and parameters have no addresses.
    """

    def __init__(
        self,
        config: Config,
        layouts: Mapping[int, TensorLayout],
        shapes: Mapping[int, Shape],
        residual: Mapping[int, int],
        output: int,
        images: int,
        *,
        draft: bool = False,
    ) -> None:
        self.config, self.layouts, self.shapes, self.residual = config, layouts, shapes, residual
        self.output, self.images, self.draft = output, images, draft
        self.tiles = TileTable(config)
        self.parameters: list[int] = []
        self._parameter_addresses: dict[object, int] = {}
        self._copy = passed(config.contract)
        self._cache: dict[object, tuple[TileKind, np.ndarray, int]] = {}
        self._masks: dict[object, np.ndarray] = {}
        self._orders: dict[object, list[_Order]] = {}

    # Constants

    def _parameter(self, output: Output, tiles: int) -> int:
        """The first parameter word of an output's records."""
        if self.draft:
            return 0
        if id(output) not in self._parameter_addresses:
            words = parameter_words(output, tiles, self.config)
            # One set for all channels may serve several layers.
            known: object = tuple(words) if output.shared else id(output)
            if known not in self._parameter_addresses:
                self._parameter_addresses[known] = len(self.parameters)
                self.parameters += words
            self._parameter_addresses[id(output)] = self._parameter_addresses[known]
        return self._parameter_addresses[id(output)]

    def _mask(self, operand: Operand, channels: int) -> np.ndarray:
        """Bool (input words, column tiles): where there may be weights."""
        key = operand, channels
        if key not in self._masks:
            self._masks[key] = self._reached(operand, channels)
        return self._masks[key]

    def _reached(self, operand: Operand, channels: int) -> np.ndarray:
        layout, config = self.layouts[operand.source], self.config
        words, tiles = layout.words, ceil_div(channels, config.columns)
        if operand.mask is None:
            return np.ones((words, tiles), bool)
        found = np.zeros((words, tiles), bool)
        inputs, outputs = np.nonzero(operand.mask)
        found[layout.channels[inputs] // config.rows, outputs // config.columns] = True
        return found

    def _tile(
        self, fusion: FusionGroup, operand: Operand, channels: int, tap: int, word: int, tile: int
    ) -> tuple[TileKind, int, int]:
        """Kind, first weight word and useful elements of the tile under a tap."""
        config = self.config
        if self.draft:
            return TileKind.STORED, 0, 0
        # Tiles that only move values are the same for every tap and every layer that looks alike.
        key = (id(operand), 0 if operand.copies else tap, word, tile)
        if key not in self._cache:
            layout = self.layouts[operand.source]
            matrix = operand.matrix(tap)
            mask = np.ones(matrix.shape, bool) if operand.mask is None else operand.mask
            inputs = np.flatnonzero(layout.channels // config.rows == word)
            outputs = np.arange(tile * config.columns, min(channels, (tile + 1) * config.columns))
            lanes = layout.channels[inputs] % config.rows
            values = np.zeros((config.rows, config.columns), np.int8)
            inside = np.zeros((config.rows, config.columns), bool)
            where = np.ix_(lanes, outputs - tile * config.columns)
            values[where], inside[where] = matrix[np.ix_(inputs, outputs)], mask[np.ix_(inputs, outputs)]
            kind = TileKind.STORED
            if operand.mask is not None and not (inside & ~np.eye(config.rows, config.columns, dtype=bool)).any():
                # An identity tile copies lanes of padding too: only where no other operand has a say in the tile.
                whole = operand.copies and int(inside.sum()) == len(outputs)
                kind = TileKind.IDENTITY if whole else TileKind.DIAGONAL
            self._cache[key] = kind, values, 0 if operand.copies else int(inside.sum())
        kind, values, useful = self._cache[key]
        identity = values.tobytes() if operand.copies else (id(operand), tap, word, tile)
        return kind, self.tiles.address((kind, identity), kind, values), useful

    def _window_tile(self, operand: Operand, corner: tuple[int, int], tile: int) -> tuple[int, int]:
        """First weight word and useful elements of a depthwise tile: the taps from `corner` on, that a window holds."""
        config, taps = self.config, self.config.depthwise
        assert operand.window is not None
        if self.draft:
            return 0, 0
        part = operand.window[
            corner[0] : corner[0] + taps,
            corner[1] : corner[1] + taps,
            tile * config.columns : (tile + 1) * config.columns,
        ]
        values = np.zeros((config.rows, config.columns), np.int8)
        for i, j in np.ndindex(part.shape[:2]):
            values[i * taps + j, : part.shape[2]] = part[i, j]
        key = ("window", id(operand), corner, tile)
        return self.tiles.address(key, TileKind.DEPTHWISE, values), part.size

    def reserve(self, fusion: FusionGroup, method: str) -> None:
        """Store the weights and parameters of a fusion group by column tile, whatever the order of its passes."""
        config = self.config
        if fusion.pair:
            operands, scaled, result = fusion.pair
            for output in (*scaled, result):
                self._parameter(output, 1)
            for operand in operands:
                mask = self._mask(operand, len(operand.mask) if operand.mask is not None else 0)
                for word, tile in np.argwhere(mask):
                    self._tile(fusion, operand, operand.mask.shape[1], 0, int(word), int(tile))  # type: ignore[union-attr]
            return
        for part in fusion.parts:
            tiles = column_tiles(part, config)
            self._parameter(part.output, tiles)
            if self._is_spread(part):
                self._parameter(self._copy, 1)
            for tile in range(tiles):
                for operand in part.operands:
                    if method == "window":
                        for corner in self._corners(operand):
                            self._window_tile(operand, corner, tile)
                        continue
                    mask = self._mask(operand, part.channels)
                    for word in np.flatnonzero(mask[:, tile]):
                        for tap in range(len(operand.taps)):
                            self._tile(fusion, operand, part.channels, tap, int(word), tile)
        if fusion.fused:
            for output in (fusion.fused.first, fusion.fused.second, fusion.fused.result):
                self._parameter(output, 1)

    def _corners(self, operand: Operand) -> list[tuple[int, int]]:
        """Where the windows begin that cover a depthwise kernel."""
        taps = max(1, self.config.depthwise)
        assert operand.window is not None
        height, width = operand.window.shape[:2]
        return [(y, x) for y in range(0, height, taps) for x in range(0, width, taps)]

    # Strips

    def _flat(self, part: Part) -> bool:
        """Whether pixel i of the result meets pixel i of every operand, over all images."""
        region = part.region
        size = region.height, region.width
        return self._whole(part, part.region.height * part.region.width) and all(
            len(o.taps) == 1
            and tuple(o.taps[0]) == (0, 0)
            and tuple(o.stride) == (1, 1)
            and self.layouts[o.source].shape[:2] == size
            for o in part.operands
        )

    def _whole(self, part: Part, pixels: int) -> bool:
        return (part.region.y, part.region.x) == (0, 0) and part.region.height * part.region.width == pixels

    def _strips(self, fusion: FusionGroup, part: Part, rows: int, *, short_end: bool) -> list[_Strip]:
        """The part's pixels, at most `rows` at a time; with `short_end` the last strip, and so its drain, is short."""
        result, size = self.shapes[fusion.result], self._pixels(fusion.result)
        region, least = part.region, self.config.load_cycles
        if self._whole(part, size) and (self._flat(part) or size == 1):
            pixels = self.images * size
            ends = [*range(0, pixels, rows), pixels]
            if short_end and pixels - ends[-2] > least:
                ends.insert(-1, pixels - least)
            return [_Strip(a, b - a) for a, b in zip(ends, ends[1:], strict=False)]
        strips = []
        for image in range(self.images):
            at = image * size + region.y * result[1] + region.x
            width = region.width
            lines = max(1, rows // width)
            if width > rows:
                spans = [(x, min(rows, width - x)) for x in range(0, width, rows)]
            else:
                spans = [(0, width)]
            count = ceil_div(region.height, lines)
            edges = [region.height * i // count for i in range(count + 1)]
            tail = ceil_div(least, width)
            if short_end and image == self.images - 1 and width <= rows and edges[-1] - edges[-2] > tail:
                edges.insert(-1, edges[-1] - tail)
            for y, end in zip(edges, edges[1:], strict=False):
                for x, columns in spans:
                    first = at + y * result[1] + x
                    strips.append(
                        _Strip(first, (end - y) * columns, image, region.y + y, region.x + x, end - y, columns)
                    )
        return strips

    def _runs(self, fusion: FusionGroup, strip: _Strip) -> list[tuple[int, int, int]]:
        """(first pixel, pixels, row) of the runs of neighbouring pixels that a strip consists of."""
        width = self.shapes[fusion.result][1]
        if strip.lines <= 1 or strip.columns == width:
            return [(strip.first, strip.count, 0)]
        return [(strip.first + i * width, strip.columns, i * strip.columns) for i in range(strip.lines)]

    # Passes

    def _from(self, source: int) -> dict[str, Any]:
        return {"source": Source.INPUT if source == INPUT else Source.ACTIVATION}

    def _walk(
        self, fusion: FusionGroup, operand: Operand, strip: _Strip, tap: tuple[int, int], word: int
    ) -> dict[str, Any]:
        """How the pixels under one tap are walked."""
        layout = self.layouts[operand.source]
        height, width = layout.shape[:2]
        if not strip.lines and self._pixels(fusion.result) > 1:
            address = layout.base + strip.first * layout.words + word
            return {"address": address, "step": layout.words, "pixels": strip.count}
        if not strip.lines:
            # One result pixel for each image: the same tap of image after image.
            inside = 0 <= tap[0] < height and 0 <= tap[1] < width
            step = layout.pixels * layout.words
            at = strip.first * step + (tap[0] * width + tap[1]) * layout.words + word
            return {
                "address": layout.base + at if inside else 0,
                "step": step,
                "pixels": strip.count,
                "pad": operand.pad,
                "first_line": 0 if inside else 1,
            }
        y, x = strip.y * operand.stride[0] + tap[0], strip.x * operand.stride[1] + tap[1]
        fields = {
            "address": layout.base + ((strip.image * height + y) * width + x) * layout.words + word,
            "step": operand.stride[1] * layout.words,
            "line": operand.stride[0] * width * layout.words,
            "pixels": strip.count,
            "columns": strip.columns if strip.lines > 1 else 0,
            "pad": operand.pad,
        }
        for axis, start, count, size, stride in (
            ("line", y, strip.lines, height, operand.stride[0]),
            ("column", x, strip.columns, width, operand.stride[1]),
        ):
            first, end = max(0, -(start // stride)), -((start - size) // stride)
            if first >= count or end <= 0:
                # All outside: a first line that is never reached says so.
                return fields | {"address": 0, "first_line": strip.lines, "end_line": 0}
            fields |= {f"first_{axis}": first, f"end_{axis}": 0 if end >= count else end}
        return fields

    def _tap_passes(
        self,
        fusion: FusionGroup,
        part: Part,
        strip: _Strip,
        tile: int,
        tiles: int,
        bank: int,
        *,
        word: int | None = None,
    ) -> PassGroup:
        """A pass per operand, word and tap, or those of one word, and column tile."""
        group, started = PassGroup(), set()
        for order in self._taken(part, tile, tiles, word):
            operand, walked, fields = order.operand, None, {}
            for w, tap, t in order.passes:
                offset = operand.taps[tap]
                if walked != (w, tap):
                    walked = w, tap
                    fields = self._from(operand.source) | self._walk(fusion, operand, strip, offset, w)
                kind, weights, useful = self._tile(fusion, operand, part.channels, tap, w, t)
                group.passes.append(
                    Pass(
                        kind=kind,
                        weights=weights,
                        useful=useful,
                        bank=bank,
                        row=(t - tile) * strip.count,
                        fold=part.fold if t in started else Fold.SET,
                        **fields,
                    )
                )
                started.add(t)
                group.labels.append(Label(fusion.layer, f"{offset[0]:+d}{offset[1]:+d}", w, t, strip.first))
        return group

    def _taken(self, part: Part, tile: int, tiles: int, only: int | None = None) -> list[_Order]:
        """The passes of a group, by operand: of all input words or of one."""
        key = part, tile, tiles, only
        if key in self._orders:
            return self._orders[key]
        span = range(tile, tile + tiles)
        masks = [self._mask(operand, part.channels) for operand in part.operands]
        missing = [t for t in span if not any(mask[:, t].any() for mask in masks)]
        started: set[int] = set()
        found: list[_Order] = []
        for operand, mask in zip(part.operands, masks, strict=True):
            words, taps = range(len(mask)) if only is None else [only], range(len(operand.taps))
            if mask.all():
                passes = [(word, tap, t) for word in words for tap in taps for t in span]
            else:
                passes = []
                for word in words:
                    # A tile that no input reaches still has to be set: to the zeros of any word's tile.
                    reached = [t for t in span if mask[word, t]]
                    new = [t for t in missing if not word and t not in started]
                    passes += [(word, 0, t) for t in sorted(reached + new)]
                    passes += [(word, tap, t) for tap in taps[1:] for t in reached]
                    started.update(new)
            if passes:
                found.append(_Order(operand, passes, [t - tile for _, _, t in passes], tiles if mask.all() else 0))
        self._orders[key] = found
        return found

    def _tap_group(self, fusion: FusionGroup, part: Part, strip: _Strip, tile: int, tiles: int, bank: int) -> PassGroup:
        """The same, as a group whose passes are not yet made."""
        turns = []
        for order in self._taken(part, tile, tiles):
            source, words = order.operand.source, None
            if source != INPUT:
                layout = self.layouts[source]
                words = layout.base, layout.base + layout.size
            turns.append(
                InterleavedPasses(
                    bank, strip.count, order.tiles, order.even, words, partial(self._read, fusion, order, strip)
                )
            )
        return TapGroup(turns, partial(self._tap_passes, fusion, part, strip, tile, tiles, bank))

    def _read(self, fusion: FusionGroup, order: _Order, strip: _Strip, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The words that a pass reads, and when."""
        word, tap, _ = order.passes[index]
        return words_read(Pass(**self._walk(fusion, order.operand, strip, order.operand.taps[tap], word)))

    def _hold_passes(self, fusion: FusionGroup, part: Part, strip: _Strip, tile: int, bank: int) -> PassGroup | None:
        """A pass per result pixel and word, the taps inside the image into one row; None where lines are too long."""
        group, operand = PassGroup(), part.operands[0]
        layout, result = self.layouts[operand.source], self.shapes[fusion.result]
        height, width = layout.shape[:2]
        ys, xs = ([min(axis), max(axis)] for axis in zip(*operand.taps, strict=True))
        words = np.flatnonzero(self._mask(operand, part.channels)[:, tile])
        pixels = [first + i for first, count, _ in self._runs(fusion, strip) for i in range(count)]
        for number, position in enumerate(pixels):
            image, pixel = divmod(position, self._pixels(fusion.result))
            at = pixel // result[1] * operand.stride[0], pixel % result[1] * operand.stride[1]
            y, y_end = max(0, at[0] + ys[0]), min(height, at[0] + ys[1] + 1)
            x, x_end = max(0, at[1] + xs[0]), min(width, at[1] + xs[1] + 1)
            lines = self.config.pass_pixels // (x_end - x)
            if not lines:
                return None
            for index, (word, top) in enumerate((int(w), top) for w in words for top in range(y, y_end, lines)):
                kind, weights, useful = self._tile(fusion, operand, part.channels, 0, word, tile)
                group.passes.append(
                    Pass(
                        kind=kind,
                        weights=weights,
                        useful=useful,
                        bank=bank,
                        row=number,
                        address=layout.base + ((image * height + top) * width + x) * layout.words + word,
                        step=layout.words,
                        line=width * layout.words,
                        columns=x_end - x,
                        pixels=(min(top + lines, y_end) - top) * (x_end - x),
                        fold=part.fold if index else Fold.SET,
                        hold=part.fold,
                        **self._from(operand.source),
                    )
                )
                group.labels.append(Label(fusion.layer, "all", word, tile, position))
        return group

    def _window_passes(self, fusion: FusionGroup, part: Part, strip: _Strip, tile: int, bank: int) -> PassGroup | None:
        """A depthwise pass per window; None where a line of it does not fit the line buffers."""
        config, operand = self.config, part.operands[0]
        taps, layout, group = config.depthwise, self.layouts[operand.source], PassGroup()
        height, width = layout.shape[:2]
        lines, columns = strip.lines, strip.columns
        if not lines:
            return None
        for number, corner in enumerate(self._corners(operand)):
            y = strip.y * operand.stride[0] + operand.taps[0][0] + corner[0]
            x = strip.x * operand.stride[1] + operand.taps[0][1] + corner[1]
            last = (columns - 1) * operand.stride[1]
            span = last + taps
            # Borders on both sides of a line are shared by neighbouring lines.
            left, right = max(0, -x), max(0, x + span - width)
            line = max(span - min(left, right), config.shortest_line)
            pixels = (lines - 1) * operand.stride[0] * line + last + (taps - 1) * (line + 1) + 1
            if line > config.longest_line or pixels > config.pass_pixels or max(operand.stride) > 4:
                return None
            inside = max(0, min(line, width - x))
            weights, useful = self._window_tile(operand, corner, tile)
            at = ((strip.image * height + y) * width + x) * layout.words + tile
            outside = left >= line or inside <= left or y >= height
            group.passes.append(
                Pass(
                    kind=TileKind.DEPTHWISE,
                    weights=weights,
                    useful=useful,
                    bank=bank,
                    address=0 if outside else layout.base + at,
                    step=layout.words,
                    line=width * layout.words,
                    columns=line,
                    pixels=pixels,
                    first_column=left,
                    end_column=0 if inside >= line else inside,
                    first_line=ceil_div(pixels, line) if outside else max(0, -y),
                    end_line=0 if outside else height - y,
                    pad=operand.pad,
                    dropped=line - last - 1,
                    skip_columns=operand.stride[1] - 1,
                    skip_lines=operand.stride[0] - 1,
                    fold=part.fold if number else Fold.SET,
                    **self._from(operand.source),
                )
            )
            group.labels.append(Label(fusion.layer, f"{corner[0]:+d}{corner[1]:+d}..", tile, tile, strip.first))
        return group

    # Drains

    def _results(
        self,
        fusion: FusionGroup,
        part: Part,
        output: Output,
        strip: _Strip,
        tile: int,
        tiles: int,
        bank: int,
        row: int = 0,
    ) -> Iterator[tuple[_Fields, Write]]:
        """The drains that bring a group's rows to wherever its layer's result is needed."""
        config, layout = self.config, self.layouts.get(fusion.result)
        first = self._parameter(output, column_tiles(part, config))
        settings: dict[str, Any] = {
            "zero_point": output.zero_point,
            "low": output.low,
            "high": output.high,
            "raw": output.raw,
            "shared": output.shared,
            "bank": bank,
            "wide": part.wide,
        }
        size, lanes = config.words_per_pixel(wide=part.wide), 1 if part.wide else config.tiles_per_word
        runs = self._runs(fusion, strip)
        for pixel, count, offset in runs:
            for t, n in [(tile, tiles)] if len(runs) == 1 else [(tile + i, 1) for i in range(tiles)]:
                common = settings | {
                    "row": row + (t - tile) * strip.count + offset,
                    "tiles": n,
                    "pixels": count,
                    "parameters": first + (0 if output.shared else t * config.groups),
                }
                write = Write(fusion.result, t, n, pixel, count)
                if layout is not None:
                    yield (
                        common
                        | {
                            "destination": Destination.OUTPUT
                            if fusion.result == self.output
                            else Destination.ACTIVATION,
                            "address": layout.base + pixel * layout.words + t // lanes * size,
                            "stride": layout.words,
                            "tile_stride": size,
                            "lane": t % lanes,
                        },
                        write,
                    )
                if fusion.result in self.residual:
                    pixels = self.images * self._pixels(fusion.result)
                    yield (
                        common
                        | {
                            "destination": Destination.RESIDUAL,
                            "stride": 1,
                            "tile_stride": pixels,
                            "address": self.residual[fusion.result] + t * pixels + pixel,
                        },
                        write,
                    )

    def _pixels(self, layer: int) -> int:
        """Pixels of one image of a layer's result."""
        return self.shapes[layer][0] * self.shapes[layer][1]

    def _in_place(self, output: Output, bank: int, row: int, count: int, **options: Any) -> _Fields:
        """Rows through the requantisers and back into a bank."""
        return (
            {
                "bank": bank,
                "row": row,
                "pixels": count,
                "parameters": self._parameter(output, 1),
                "shared": True,
                "zero_point": output.zero_point,
                "destination": Destination.ACCUMULATORS,
                "into": bank,
                "address": row,
            }
            | _INT32
            | options
        )

    def _finish(
        self, fusion: FusionGroup, part: Part, group: PassGroup, strip: _Strip, tile: int, tiles: int, bank: int
    ) -> PassGroup:
        """Add the drains, and mark the pass that starts them."""
        drains: list[tuple[_Fields, Write | None]] = []
        if fusion.fused is None:
            drains += self._results(fusion, part, part.output, strip, tile, tiles, bank)
        else:
            fused, output, rows = fusion.fused, part.output, strip.count * tiles
            first = self._parameter(output, column_tiles(part, self.config))
            drains.append(
                (
                    {
                        "tiles": tiles,
                        "pixels": strip.count,
                        "tile_stride": strip.count,
                        "zero_point": output.zero_point,
                        "parameters": first + (0 if output.shared else tile * self.config.groups),
                        "shared": output.shared,
                        "low": output.low,
                        "high": output.high,
                        "bank": bank,
                        "into": bank,
                        "destination": Destination.ACCUMULATORS,
                    },
                    None,
                )
            )
            drains.append((self._in_place(fused.first, bank, 0, rows), None))
            pixels = self.images * self._pixels(fused.residual)
            for t in range(tiles):
                for pixel, count, offset in self._runs(fusion, strip):
                    at = t * strip.count + offset
                    residual = self._in_place(
                        fused.second,
                        bank,
                        self.residual[fused.residual] + (tile + t) * pixels + pixel,
                        count,
                        residual=True,
                        fold=Fold.ADD,
                        address=at,
                    )
                    drains.append((residual, None))
            drains += self._results(fusion, part, fused.result, strip, tile, tiles, bank)
        self._chain(group, drains)
        return group

    def _chain(self, group: PassGroup, drains: Sequence[tuple[_Fields, Write | None]]) -> None:
        for index, (fields, write) in enumerate(drains):
            group.drains.append(Drain(**fields, chained=index > 0))
            group.writes.append(write)
        if not isinstance(group, TapGroup):
            group.passes[-1] = dataclasses.replace(group.passes[-1], release=True)

    def _pair(self, fusion: FusionGroup, rows: int, bank: int) -> Iterator[PassGroup]:
        """An addition of two tensors: each strip of one through each bank, by turns in their lower and upper halves."""
        assert fusion.pair is not None
        operands, scaled, result = fusion.pair
        part, upper = fusion.parts[0], 0
        tiles = column_tiles(part, self.config)
        for tile in range(tiles):
            for strip in self._strips(fusion, part, rows, short_end=False):
                row = upper * rows
                upper ^= 1
                group = PassGroup()
                for which in (1, 0):
                    single = dataclasses.replace(part, operands=[operands[which]])
                    passes = self._tap_passes(fusion, single, strip, tile, 1, bank ^ which)
                    group.passes += [dataclasses.replace(p, row=row) for p in passes.passes]
                    group.labels += passes.labels
                drains: list[tuple[_Fields, Write | None]] = [
                    (self._in_place(scaled[0], bank, row, strip.count), None),
                    (self._in_place(scaled[1], 1 - bank, row, strip.count, into=bank, fold=Fold.ADD), None),
                ]
                drains += self._results(fusion, part, result, strip, tile, 1, bank, row)
                self._chain(group, drains)
                yield group

    def _is_spread(self, part: Part) -> bool:
        """Whether maxima are taken of column tiles whose channels lie in several words.

        The columns that a word does not reach get zeros from it, which would count as values.
        """
        masks = (self._mask(operand, part.channels) for operand in part.operands)
        return part.fold == Fold.MAX and any(int(mask.sum(axis=0).max()) > 1 for mask in masks)

    def _spread(self, fusion: FusionGroup, part: Part, tiles: int, bank: int) -> Iterator[PassGroup]:
        """Maxima of each word in rows of their own, whose sum, in the other bank, is the result."""
        mask, copy = self._mask(part.operands[0], part.channels), self._copy
        words = int(mask.sum(axis=0).max())
        if words > self.config.accumulator_rows:
            raise CapacityError.of("accumulator_rows", words, self.config, self.images)
        for tile in range(tiles):
            for strip in self._strips(fusion, part, max(1, self.config.accumulator_rows // words), short_end=False):
                group, drains = PassGroup(), list[tuple[_Fields, Write | None]]()
                for number, word in enumerate(np.flatnonzero(mask[:, tile])):
                    only = self._tap_passes(fusion, part, strip, tile, 1, bank, word=int(word))
                    group.passes += [dataclasses.replace(p, row=number * strip.count) for p in only.passes]
                    group.labels += only.labels
                    fold = Fold.ADD if number else Fold.SET
                    drains.append(
                        (
                            self._in_place(
                                copy, bank, number * strip.count, strip.count, into=1 - bank, address=0, fold=fold
                            ),
                            None,
                        )
                    )
                drains += self._results(fusion, part, part.output, strip, tile, 1, 1 - bank)
                self._chain(group, drains)
                yield group
                bank ^= 1

    def cache_key(self, fusion: FusionGroup) -> object:
        """Return all that makes a fusion's groups differ between im2col variants of a network."""
        tensors = (*fusion.sources, fusion.result, *([fusion.fused.residual] if fusion.fused else []))
        layouts = [(t, (p.base, p.words, p.shape) if (p := self.layouts.get(t)) else self.residual[t]) for t in tensors]
        mine = fusion if INPUT in fusion.sources else None
        return mine, fusion.layer, fusion.result, tuple(layouts), tuple(self.residual.get(t) for t in tensors)

    def groups(self, fusion: FusionGroup, option: Option, bank: int) -> list[PassGroup] | None:
        """A fusion's groups in order, beginning with a bank; None where the option cannot be."""
        if fusion.pair:
            return list(self._pair(fusion, option.rows, bank))
        found: list[PassGroup] = []
        for part in fusion.parts:
            tiles = column_tiles(part, self.config)
            if self._is_spread(part):
                if option.method == "hold":
                    return None
                spread = list(self._spread(fusion, part, tiles, bank))
                found += spread
                bank ^= len(spread) % 2
                continue
            for strip, tile, count in self._order(fusion, part, option, tiles):
                group: PassGroup | None
                if option.method == "hold":
                    group = self._hold_passes(fusion, part, strip, tile, bank)
                elif option.method == "window":
                    group = self._window_passes(fusion, part, strip, tile, bank)
                else:
                    group = self._tap_group(fusion, part, strip, tile, count, bank)
                if group is None:
                    return None
                found.append(self._finish(fusion, part, group, strip, tile, count, bank))
                bank ^= 1
        return found

    def _order(self, fusion: FusionGroup, part: Part, option: Option, tiles: int) -> Iterator[tuple[_Strip, int, int]]:
        """(strip, first column tile, column tiles) of each group."""
        rows = option.rows
        if option.order == "tiles":
            for tile in range(tiles):
                for strip in self._strips(fusion, part, rows, short_end=tile == tiles - 1):
                    yield strip, tile, 1
            return
        for strip in self._strips(fusion, part, rows, short_end=False):
            most = max(1, self.config.accumulator_rows // strip.count) if option.order == "side" else 1
            for tile in range(0, tiles, most):
                yield strip, tile, min(most, tiles - tile)
