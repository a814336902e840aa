"""The rules of time, written out for every row, word and cycle: a slow second opinion on `etchnet.sim.timing`."""

from collections import defaultdict

from etchnet.hdl.isa import Destination, Fold, Source, TileKind
from etchnet.sim.timing import Latencies, drain_words, drains_of

LONG_AGO = -(10**9)


class Replay:
    """A replay of a program with its own idle cycles, which records every rule that it breaks.

    Attributes
    ----------
    broken
        For each broken rule: the pass or drain, and the rule.
    idle
        For each pass, the cycles that it was idle for.
    reading
        Cycles in which the output stage read.
    busy_until
        The cycle after the last write.
    """

    def __init__(self, passes, drains, config, *, repeats):
        self.config, self.lat = config, Latencies.of(config)
        self.broken, self.idle, self.reading = [], [], set()
        self.complete, self.read = defaultdict(lambda: LONG_AGO), defaultdict(lambda: LONG_AGO)
        self.activation, self.residual = defaultdict(lambda: LONG_AGO), defaultdict(lambda: LONG_AGO)
        self.last_port_use, self.last_drain_fold = [LONG_AGO] * 2, [LONG_AGO] * 2
        self.last_output_use, self.lines, self.slot, self.busy_until = LONG_AGO, (0, LONG_AGO), 0, 0
        started = drains_of(passes, drains)
        for _ in range(repeats):
            for index, p in enumerate(passes):
                idle = p.idle + p.idle_requantise
                self.idle.append(range(self.slot, self.slot + idle))
                start = self.slot + idle
                self.play_pass(index, p, start)
                self.slot = start + max(p.pixels, config.rows // config.weight_rows)
                first = start + p.pixels - 1 + self.lat.drain_delay
                for i in started[index]:
                    if drains[i].chained:
                        first = self.last_output_use + self.lat.chain + drains[i].idle
                    self.play_drain(i, drains[i], first)

    def pace_of(self, d):
        return max(self.config.columns // self.config.requantisers, self.config.words_per_pixel(wide=d.wide))

    def require(self, met, who, rule):
        if not met:
            self.broken.append((who, rule))

    def play_pass(self, index, p, start):
        lat, bank, who = self.lat, p.bank, f"pass {index}"
        folds = list(zip(p.rows(self.config).tolist(), p.kept(self.config).tolist(), strict=True))
        if p.hold != Fold.SET:
            folds = folds[:1]
        for row, pixel in folds:
            self.require(start + pixel + lat.fold_write > self.read[bank, row], who, "overwrites an unread row")
            self.require(start + pixel + lat.fold_delay > self.last_drain_fold[bank], who, "folds with a drain")
            if p.fold != Fold.SET:
                self.require(start + pixel + lat.fold_delay >= self.complete[bank, row], who, "adds to a fold")
                self.require(start + pixel + lat.fold_delay > self.last_port_use[bank], who, "reads with a drain")
        if p.source == Source.ACTIVATION:
            for pixel, word in enumerate(p.walk().tolist()):
                if word > -(1 << 30):
                    self.require(start + pixel >= self.activation[word], who, "reads an unwritten word")
        if p.kind == TileKind.DEPTHWISE:
            line, free = self.lines
            self.require(p.line_pixels == line or start >= free, who, "changes the length of lines")
            self.lines = p.line_pixels, start + p.pixels + self.config.rows + self.config.columns
        for row, pixel in folds:
            last = pixel if p.hold == Fold.SET else p.pixels - 1
            self.complete[bank, row] = start + last + lat.fold_visible

    def play_drain(self, index, d, first):
        config, lat, who = self.config, self.lat, f"drain {index}"
        pace = self.pace_of(d)
        words = drain_words(d, config).ravel().tolist()
        adds, rows = d.fold != Fold.SET, range(d.row, d.row + len(words))
        to_bank = d.destination == Destination.ACCUMULATORS
        self.require(first > self.last_output_use, who, "reads with another drain")
        self.require(d.residual or first > self.last_port_use[d.bank], who, "shares a read port")
        for step, (row, word) in enumerate(zip(rows, words, strict=True)):
            begin = first + step * pace
            there = self.residual[row] if d.residual else self.complete[d.bank, row]
            self.require(begin >= there, who, "reads an incomplete row")
            if to_bank:
                presented = begin + config.groups - 1 + lat.feedback
                self.require(step or presented > self.last_drain_fold[d.into], who, "folds with another drain")
                if adds:
                    self.require(presented >= self.complete[d.into, word], who, "adds to an incomplete row")
                    self.require(step or presented > self.last_port_use[d.into], who, "adds while the port is used")
        for step, (row, word) in enumerate(zip(rows, words, strict=True)):
            last_read = first + step * pace + config.groups - 1
            if not d.residual:
                self.read[d.bank, row] = last_read
            if to_bank:
                self.complete[d.into, word] = last_read + lat.feedback + lat.accumulate + 1
                self.last_drain_fold[d.into] = last_read + lat.feedback
                if adds:
                    self.last_port_use[d.into] = max(self.last_port_use[d.into], last_read + lat.feedback)
            self.busy_until = max(self.busy_until, last_read + lat.result + config.words_per_pixel(wide=d.wide))
            memory = {Destination.ACTIVATION: self.activation, Destination.RESIDUAL: self.residual}.get(d.destination)
            for offset in range(config.words_per_pixel(wide=d.wide) if memory is not None else 0):
                memory[word + offset] = last_read + lat.result + 1 + offset
        self.last_output_use = first + len(words) * pace - 1
        self.reading.update(range(first, self.last_output_use + 1))
        if not d.residual:
            self.last_port_use[d.bank] = max(self.last_port_use[d.bank], self.last_output_use)
