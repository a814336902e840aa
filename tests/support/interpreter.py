"""The instruction set as an interpreter: pass by pass, pixel by pixel, in int64, without cycles."""

import numpy as np

from etchnet.hdl.isa import Destination, Fold, Source, TileKind
from etchnet.sim.arithmetic.contracts import contract_of


def wrap(values):
    """Return whole numbers modulo 2**32, within int32."""
    return (values + (1 << 31)) % (1 << 32) - (1 << 31)


def fold(old, new, how):
    if how == Fold.SET:
        return new
    return wrap(old + new) if how == Fold.ADD else np.maximum(old, new)


class Interpreter:
    """The memories of a machine, and the effect of each instruction on them as `etchnet.hdl.isa` defines it."""

    def __init__(self, config, tiles, fields, halves):
        self.config, self.tiles, self.fields, self.halves = config, tiles, fields, halves
        words = {
            Destination.ACTIVATION: config.activation_words,
            Destination.OUTPUT: config.output_words,
            Destination.RESIDUAL: config.residual_words,
        }
        self.memories = {where: np.zeros((n, config.rows), np.int64) for where, n in words.items()}
        self.banks = np.zeros((2, config.accumulator_rows, config.columns), np.int64)
        self.half = 0
        self.results = []

    def run(self, passes, drains):
        """Execute a program; each pass with `release` starts the next drain and those chained to it."""
        drains = list(drains)
        for index, p in enumerate(passes):
            self.execute(p, self.tiles[index])
            self.half += p.release_input
            if p.release:
                self.drain(drains.pop(0))
                while drains and drains[0].chained:
                    self.drain(drains.pop(0))
        assert not drains
        return self

    def vectors(self, p):
        """Return the pixels in the order of the walk: (pixels, rows)."""
        found = []
        line = column = 0
        for _ in range(p.pixels):
            inside = p.first_line <= line < (p.end_line or 1 << 30) and p.first_column <= column < (
                p.end_column or 1 << 30
            )
            memory = self.halves[self.half] if p.source == Source.INPUT else self.memories[Destination.ACTIVATION]
            word = memory[p.address + line * p.line + column * p.step] if inside else np.full(self.config.rows, p.pad)
            found.append(word.astype(np.int64))
            column += 1
            if p.columns and column == p.columns:
                line, column = line + 1, 0
        return np.array(found)

    def sums(self, p, tile):
        """Return the sums that are folded: (kept, columns)."""
        vectors, config = self.vectors(p), self.config
        if p.kind != TileKind.DEPTHWISE:
            return vectors @ tile.astype(np.int64)
        taps, length = config.depthwise, p.columns or p.pixels
        kept = []
        for start in range(p.pixels - (taps - 1) * (length + 1)):
            line, column = divmod(start, length)
            if column < length - p.dropped and not line % (p.skip_lines + 1) and not column % (p.skip_columns + 1):
                window = [vectors[start + i * length + j] for i in range(taps) for j in range(taps)]
                kept.append(sum(window[i] * tile[i] for i in range(taps * taps)))
        return np.array(kept)

    def execute(self, p, tile):
        bank = self.banks[p.bank]
        for index, values in enumerate(self.sums(p, tile)):
            if p.hold == Fold.SET:
                bank[p.row + index] = fold(bank[p.row + index], values, p.fold)
            else:
                bank[p.row] = fold(bank[p.row], values, p.hold if index else p.fold)

    def drain(self, d):
        config, results = self.config, []
        lanes = config.rows // config.columns if config.rows % config.columns == 0 else 1
        for tile in range(d.tiles):
            first = d.parameters // config.groups + (0 if d.shared else tile)
            for pixel in range(d.pixels):
                row = d.row + tile * d.pixels + pixel
                values = self.memories[Destination.RESIDUAL][row] if d.residual else self.banks[d.bank, row]
                values = self.scaled(d, values.copy(), first)
                accumulates = d.destination == Destination.ACCUMULATORS
                word, lane = (tile, 0) if d.wide or accumulates else divmod(d.lane + tile, lanes)
                address = d.address + word * d.tile_stride + pixel * d.stride
                if accumulates:
                    self.banks[d.into, address] = fold(self.banks[d.into, address], values, d.fold)
                elif d.wide:
                    self.write(Destination.OUTPUT, address, np.array(values, "<i4").view(np.int8), 0)
                else:
                    values = (values + 128) % 256 - 128
                    self.write(d.destination, address, values, lane if lanes > 1 else None)
                results.append(values)
        self.results.append(np.array(results))

    def scaled(self, d, values, parameters):
        bias, multiplier, left, right = (
            self.fields[name][parameters] for name in ("bias", "multiplier", "left", "right")
        )
        values = wrap(values + bias)
        if d.raw:
            products = wrap(wrap(values << left) * multiplier)
            halves = (np.int64(1) << right) >> 1
            scaled = np.sign(products) * ((np.abs(products) + halves) >> right)
        else:
            scaled = contract_of(self.config.contract).scale(values, multiplier, left, right)
        return np.clip(scaled + d.zero_point, d.low, d.high)

    def write(self, where, address, values, lane):
        """Write the bytes of one row: into one lane of a word, or into as many whole words as they need."""
        memory, rows = self.memories[where], self.config.rows
        if lane is not None and len(values) < rows:
            memory[address, lane * len(values) : (lane + 1) * len(values)] = values
            return
        words = -(-len(values) // rows)
        memory[address : address + words] = np.pad(values, (0, words * rows - len(values))).reshape(words, rows)
