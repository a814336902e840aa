"""Random programs: instructions, the tokens that passes wait for and release, and idle cycles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from support.random_instructions import InstructionWriter, WeightMap

from etchnet.hdl.isa import Destination, Drain, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.sim.timing import Timeline, check, drains_of, schedule
from etchnet.sim.timing.footprint import footprints

_DRAIN_IDLE = 31
"""the longest that a chained drain can wait"""


@dataclass(frozen=True)
class RandomProgram:
    """A scheduled program.

    Attributes
    ----------
    passes, drains
        Its instructions.
    once
        Whether it may only run once per command.
    written
        The bytes of an output that its drains write: bool (output_words, rows).
    """

    passes: Sequence[Pass]
    drains: Sequence[Drain]
    once: bool
    written: np.ndarray

    @property
    def words(self) -> int:
        """Memory words up to the last that is written."""
        return int(np.flatnonzero(self.written.any(axis=1))[-1]) + 1


class ProgramWriter(InstructionWriter):
    """Makes a random program.

    Parameters
    ----------
    config, random, weights
        As for `InstructionWriter`.
    passes, drains
        Maximum number of instructions.
    """

    def __init__(
        self, config: Config, random: np.random.Generator, weights: WeightMap, *, passes: int, drains: int
    ) -> None:
        super().__init__(config, random, weights)
        self._most_passes, self._most_drains = passes, drains
        self._held = False
        self._halves = self._choose([0, 1, 1, 1, 2, 3])
        """halves of the input that a repeat releases; 0: it reads one and leaves it"""

    def write(self) -> RandomProgram:
        """Return the program."""
        groups = self._within(1, max(1, min(5, self._most_passes, self._most_drains)))
        for number in range(groups):
            left = groups - number - 1
            count = self._within(1, max(1, min(4, self._most_passes - len(self._passes) - left)))
            for _ in range(count):
                self._passes.append(self._pass())
                self._input_tokens()
            self._passes[-1]["release"] = True
            count = self._within(1, max(1, min(5, self._most_drains - len(self._drains) - left)))
            for place in range(count):
                self._drain(chained=place > 0, final=not left and place == count - 1)
        if self._halves and self._held:
            self._passes[-1]["release_input"] = True
        self._output_tokens()
        self._weight_tokens()
        return self._scheduled()

    def _input_tokens(self) -> None:
        """Let the last pass wait for the input if it reads it, or has read it; let it release the half at times."""
        p = self._passes[-1]
        if (p["source"] == Source.INPUT and not self._held) or (self._held and self._maybe(0.1)):
            p["wait_input"] = self._held = True
        released = sum(bool(q.get("release_input")) for q in self._passes)
        if self._held and released + 1 < self._halves and self._maybe(0.4):
            p["release_input"], self._held = True, False

    def _output_tokens(self) -> None:
        """Let one pass wait for the output, at the latest the first that starts a drain to it."""
        started = [i for i, p in enumerate(self._passes) if p.get("release")]
        group = -1
        for drain in self._drains:
            group += not drain.chained
            if drain.destination == Destination.OUTPUT:
                break
        self._passes[self._within(0, started[group])]["wait_output"] = True

    def _weight_tokens(self) -> None:
        """Divide the passes into segments, one for each tile that is loaded while the program runs."""
        slots, passes = self._weights.slots, self._passes
        if not slots or len(passes) < len(slots) or self._maybe(0.4):
            return
        loads = len(slots) * self._within(1, min(3, len(passes) // len(slots)))
        cuts = sorted(self._random.choice(np.arange(1, len(passes)), loads - 1, replace=False).tolist())
        bounds = [*zip([0, *cuts], [*cuts, len(passes)], strict=True)]
        last = -1
        for load, (first, stop) in enumerate(bounds):
            slot = slots[load % len(slots)]
            passes[first]["wait_weights"] = True
            used = self._within(first, stop - 1)
            for p in passes[first : used + 1]:
                if p["kind"] == TileKind.DIAGONAL:
                    p["weights"] = slot + self._below(self._config.load_cycles)
                elif p["kind"] != TileKind.IDENTITY:
                    p["weights"] = slot
            # The room may be given back in the next segment, if the next tile has another slot.
            stops = bounds[load + 1][1] if len(slots) > 1 and load + 1 < loads else stop
            last = self._within(max(last + 1, used), min(stops - 1, len(passes) - loads + load))
            passes[last]["release_weights"] = True

    def _scheduled(self) -> RandomProgram:
        """Schedule the program, and add idle cycles beyond those that it needs."""
        config, once = self._config, self._maybe(0.3)
        repeats = 1 if once else 2
        passes, drains = schedule([Pass(**p) for p in self._passes], self._drains, config, once=once)
        late = [*drains]
        for index, d in enumerate(drains):
            if d.chained and self._maybe(0.15):
                waits = self._choose([min(_DRAIN_IDLE, d.idle + 1), self._within(d.idle, _DRAIN_IDLE), _DRAIN_IDLE])
                late[index] = dataclasses.replace(d, idle=waits)
        longest = (1 << Pass.layout(config)["idle"].width) - 1
        for index, p in enumerate(passes):
            extra = {}
            for name in ("idle", "idle_requantise"):
                if self._maybe(0.08):
                    more = self._choose([1, self._below(12), self._below(12), longest])
                    extra[name] = min(getattr(p, name) + more, longest)
            passes[index] = dataclasses.replace(p, **extra)
        passes, drains = _patient(passes, late, config, repeats) or _patient(passes, drains, config, repeats)
        check(passes, drains, config, repeats=repeats)
        lanes = self._memories[Destination.OUTPUT]
        written = np.repeat(lanes, config.rows // lanes.shape[1], axis=1)
        return RandomProgram(passes, drains, once, written)


def _patient(
    passes: Sequence[Pass], drains: Sequence[Drain], config: Config, repeats: int
) -> tuple[list[Pass], list[Drain]] | None:
    """Return a program whose instructions wait as long as they must because others wait longer; None if it has none."""
    started = drains_of(passes, drains)
    placed = footprints(passes, drains, started, config)
    passes, drains, timeline = [*passes], [*drains], Timeline(config)
    for _ in range(repeats):
        for index, (footprint, its_drains) in enumerate(placed):
            p = passes[index]
            start = timeline.slot + p.idle + p.idle_requantise
            late = timeline.earliest(footprint, its_drains, index) - start
            if late > 0:
                passes[index], start = dataclasses.replace(p, idle=p.idle + late), start + late
            waits = [drains[i].idle for i in started[index]]
            needed = timeline.issue(footprint, its_drains, start, index, waits)
            for i, least in zip(started[index], needed, strict=False):
                if least > _DRAIN_IDLE:
                    return None
                drains[i] = dataclasses.replace(drains[i], idle=max(drains[i].idle, least))
    return passes, drains
