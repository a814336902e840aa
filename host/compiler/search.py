"""In which order a fusion's passes run: ways worth trying, and the search among them by the exact timing model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.emitter import Emitter, Option, PassGroup
from etchnet.host.compiler.fusion import FusionGroup, column_tiles
from etchnet.sim.timing import Timeline

__all__ = ["ScheduleCache", "choose", "longest_strips", "options"]


def options(fusion: FusionGroup, config: Config, images: int, *, alone: bool) -> list[Option]:
    """The ways worth trying; all of them give the same result."""
    most, least = config.accumulator_rows, config.load_cycles
    # Strips shorter than what there is to cut, and tiles by turns with strips, only where there are several strips.
    pixels = images * max(p.region.height * p.region.width for p in fusion.parts)
    if fusion.pair:
        return [Option("pair", "strips", most // 2)]
    methods = ["taps"]
    # A pass per result pixel is worth trying where there are few.
    few = sum(p.region.height * p.region.width for p in fusion.parts) <= config.load_cycles
    if few and all(p.copies and len(p.operands) == 1 and len(p.operands[0].taps) > 1 for p in fusion.parts):
        methods.append("hold")
    windows = [p.operands[0].window for p in fusion.parts]
    if config.depthwise and all(window is not None and window.shape[:2] != (1, 1) for window in windows):
        methods.append("window")
    caps = [most] if alone else [most, *(c for c in (most // 2, most // 4) if 2 * least <= c < pixels)]
    orders = ["tiles", "side"] if alone or pixels <= caps[-1] else ["tiles", "side", "strips"]
    if all(column_tiles(p, config) == 1 for p in fusion.parts):
        orders = ["tiles"]
    found = []
    for method in methods:
        if method == "hold":
            found.append(Option("hold", "tiles", most))
            continue
        # A depthwise pass is of one column tile.
        found += [
            Option(method, order, cap) for cap in caps for order in orders if (method, order) != ("window", "side")
        ]
    return found


def longest_strips(fusion: FusionGroup, config: Config) -> Option:
    """The order with the fewest passes, as a rule: whole banks, column tile after column tile."""
    found = options(fusion, config, 1, alone=False)
    return next((option for option in found if option.method in ("window", "hold")), found[0])


@dataclass(eq=False)
class PartialSchedule:
    """A program so far: its timeline, and the order chosen for each fusion."""

    timeline: Timeline
    bank: int
    chosen: list[Option]


class ScheduleCache:
    """Groups that timelines were extended by, and what that made of them: for the plans of one network on one machine.

    Packings of a network differ in the layer that reads the input alone.
    """

    def __init__(self) -> None:
        self._groups: dict[object, list[PassGroup] | None] = {}
        self._extended: dict[object, tuple[Timeline, Timeline]] = {}

    def groups(self, fusion: FusionGroup, option: Option, emitter: Emitter) -> list[PassGroup] | None:
        """A fusion's groups, beginning with bank 0."""
        key = emitter.cache_key(fusion), option
        if key not in self._groups:
            self._groups[key] = emitter.groups(fusion, option, 0)
        return self._groups[key]

    def extend(self, timeline: Timeline, groups: Sequence[PassGroup]) -> Timeline:
        """The timeline with the groups behind it."""
        key = id(groups), timeline.state_key
        if key in self._extended:
            before, after = self._extended[key]
            moved = after.shifted(
                timeline.slot - before.slot, swap_banks=timeline.banks_swapped != before.banks_swapped
            )
            moved.busy_until = max(moved.busy_until, timeline.busy_until)
            return moved
        extended = timeline.copy()
        for group in groups:
            group.follow(extended)
        self._extended[key] = timeline, extended
        return extended


def _extend(
    cache: ScheduleCache, beginning: PartialSchedule, groups: Sequence[PassGroup], option: Option
) -> PartialSchedule:
    beginning.timeline.banks_swapped = bool(beginning.bank)
    timeline = cache.extend(beginning.timeline, groups)
    return PartialSchedule(timeline, beginning.bank ^ len(groups) % 2, [*beginning.chosen, option])


def choose(
    fusion_groups: Sequence[FusionGroup],
    emitter: Emitter,
    config: Config,
    only: str | None,
    width: int,
    cache: ScheduleCache,
) -> tuple[list[Option], int]:
    """An order for every fusion, by a beam search over the exact timing model, and the cycles of a run.

    Programs repeat back to back: cycles count what the first fusion has to wait for the last one of the repeat before,
    which the program's idle cycles then do in every repeat.
    """
    empty = Timeline(config, assume_valid=True)
    beam = [PartialSchedule(empty, 0, [])]
    for fusion in fusion_groups:
        extended: list[PartialSchedule] = []
        for option in options(fusion, config, emitter.images, alone=len(fusion_groups) == 1):
            if only is not None and option.order != only:
                continue
            groups = cache.groups(fusion, option, emitter)
            if groups is not None:
                extended += [_extend(cache, b, groups, option) for b in beam]
        beam = _best(extended, width)
    emitted = {b.chosen[0]: cache.groups(fusion_groups[0], b.chosen[0], emitter) or [] for b in beam}
    alone = {
        option: _extend(cache, PartialSchedule(empty, 0, []), groups, option) for option, groups in emitted.items()
    }

    def cycles(b: PartialSchedule) -> int:
        again = PartialSchedule(b.timeline.copy(), 0, [])
        again.timeline.begin_repeat()
        again = _extend(cache, again, emitted[b.chosen[0]], b.chosen[0])
        waited = again.timeline.slot - b.timeline.slot - alone[b.chosen[0]].timeline.slot
        return b.timeline.busy_until + waited

    best = min(beam, key=cycles)
    return best.chosen, cycles(best)


def _best(extended: Sequence[PartialSchedule], width: int) -> list[PartialSchedule]:
    """The most promising beginnings: some are ahead in issuing, others in writing; some will end in the other bank."""
    if width == 1:
        return [min(extended, key=lambda b: (b.timeline.busy_until, b.timeline.slot))]
    kept: list[PartialSchedule] = []
    for bank in (0, 1):
        some = [b for b in extended if b.bank == bank]
        by_write = sorted(some, key=lambda b: (b.timeline.busy_until, b.timeline.slot))
        by_slot = sorted(some, key=lambda b: (b.timeline.slot, b.timeline.busy_until))
        kept += by_write[: max(1, width // 4)] + by_slot[: max(1, width // 4)]
    return list(dict.fromkeys(kept))
