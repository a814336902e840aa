"""Search for the fastest order of passes in each fusion group, by the exact timing model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etchnet.hdl.isa.config import Config
from etchnet.host.compiler.emit.emitter import Emitter
from etchnet.host.compiler.emit.groups import Order, PassGroup
from etchnet.host.compiler.fusion import FusionGroup, column_tiles
from etchnet.sim.timing import Timeline

__all__ = ["ScheduleCache", "fewest_passes", "possible_orders", "search_orders"]


def possible_orders(fusion: FusionGroup, config: Config, images: int, *, alone: bool) -> list[Order]:
    """Return the orders worth trying for a fusion group; all give the same result.

    `alone` tells whether the program consists only of this group; then only whole banks are tried.
    """
    most, least = config.accumulator_rows, config.load_cycles
    if fusion.pair:
        return [Order("pair", "strips", most // 2)]
    methods = ["taps"]
    # A pass per result pixel is worth trying only if there are few pixels.
    few = sum(p.region.height * p.region.width for p in fusion.parts) <= config.load_cycles
    copies = [p.operands[0] for p in fusion.parts if p.copies and len(p.operands) == 1]
    if few and len(copies) == len(fusion.parts) and all(len(o.taps) > 1 and o.is_rectangle for o in copies):
        methods.append("hold")
    windows = [p.operands[0].window for p in fusion.parts]
    if config.depthwise and all(window is not None and window.shape[:2] != (1, 1) for window in windows):
        methods.append("window")
    # Using part of a bank, or ordering by strips, makes a difference only if there are several strips.
    pixels = images * max(p.region.height * p.region.width for p in fusion.parts)
    rows = [most] if alone else [most, *(c for c in (most // 2, most // 4) if 2 * least <= c < pixels)]
    orders = ["tiles", "side"] if alone or pixels <= rows[-1] else ["tiles", "side", "strips"]
    if all(column_tiles(p, config) == 1 for p in fusion.parts):
        orders = ["tiles"]
    found = []
    for method in methods:
        if method == "hold":
            found.append(Order("hold", "tiles", most))
            continue
        # A depthwise pass has one column tile. By strips, the last tile is not cut for a short end.
        tried = orders if method == "taps" or len(orders) == 1 else ["tiles", "strips"]
        found += [Order(method, order, n) for n in rows for order in tried]
    return found


@dataclass(frozen=True, eq=False)
class PartialSchedule:
    """The first fusion groups of a program, scheduled in some orders.

    Attributes
    ----------
    timeline
        The timing so far.
    bank
        The accumulator bank that the next pass group fills.
    orders
        The order of each fusion group.
    """

    timeline: Timeline
    bank: int
    orders: tuple[Order, ...] = ()


class ScheduleCache:
    """Pass groups and extended timelines, shared by all choices of arrangements for one network on one machine.

    Choices differ only in a few layers, so most groups and much of the timing are equal.
    """

    def __init__(self) -> None:
        self._groups: dict[object, list[PassGroup] | None] = {}
        self._extended: dict[object, tuple[Timeline, Timeline]] = {}

    def groups(self, fusion: FusionGroup, order: Order, emitter: Emitter) -> list[PassGroup] | None:
        """Return the pass groups of a fusion group, starting with bank 0; None if this order is not possible."""
        key = emitter.cache_key(fusion), order
        if key not in self._groups:
            self._groups[key] = emitter.groups(fusion, order, 0)
        return self._groups[key]

    def extend(self, timeline: Timeline, groups: Sequence[PassGroup]) -> Timeline:
        """Return a copy of a timeline with pass groups appended."""
        key = id(groups), timeline.state_key
        if key in self._extended:
            before, after = self._extended[key]
            swapped = timeline.banks_swapped != before.banks_swapped
            shifted = after.shifted(timeline.slot - before.slot, swap_banks=swapped)
            shifted.busy_until = max(shifted.busy_until, timeline.busy_until)
            return shifted
        extended = timeline.copy()
        for group in groups:
            group.append_to(extended)
        self._extended[key] = timeline, extended
        return extended


def fewest_passes(fusion: FusionGroup, emitter: Emitter, cache: ScheduleCache) -> Order:
    """Return the order that usually has the fewest passes: whole banks, column tile after column tile.

    It is one that the machine can run, according to `emitter`, a draft emitter.
    """
    found = possible_orders(fusion, emitter.config, 1, alone=False)
    few = (order for order in found if order.method in ("window", "hold"))
    return next((order for order in few if cache.groups(fusion, order, emitter) is not None), found[0])


def _extend(
    cache: ScheduleCache, schedule: PartialSchedule, groups: Sequence[PassGroup], order: Order
) -> PartialSchedule:
    schedule.timeline.banks_swapped = bool(schedule.bank)
    timeline = cache.extend(schedule.timeline, groups)
    return PartialSchedule(timeline, schedule.bank ^ len(groups) % 2, (*schedule.orders, order))


def search_orders(
    groups: Sequence[FusionGroup], emitter: Emitter, cache: ScheduleCache, *, beam: int, only: str | None = None
) -> tuple[tuple[Order, ...], int]:
    """Search for the orders of all fusion groups that take the fewest cycles, by beam search.

    Parameters
    ----------
    emitter
        A draft emitter: the search needs no addresses of weights and parameters.
    beam
        Partial schedules that are kept after each fusion group.
    only
        The only value of `Order.order` to try; None tries all.

    Returns
    -------
    orders
        The order of each fusion group.
    cycles
        Cycles of a run of one repeat, plus those that the first group of the next repeat would wait for the last group
        of this one; the program's idle cycles include these in every repeat.
    """
    config = emitter.config
    empty = Timeline(config, assume_valid=True)
    kept = [PartialSchedule(empty, 0)]
    for fusion in groups:
        extended: list[PartialSchedule] = []
        for order in possible_orders(fusion, config, emitter.memory.images, alone=len(groups) == 1):
            if only is not None and order.order != only:
                continue
            found = cache.groups(fusion, order, emitter)
            if found is not None:
                extended += [_extend(cache, schedule, found, order) for schedule in kept]
        kept = _best(extended, beam)
    first = {s.orders[0]: cache.groups(groups[0], s.orders[0], emitter) or [] for s in kept}
    alone = {order: _extend(cache, PartialSchedule(empty, 0), found, order) for order, found in first.items()}

    def cycles(schedule: PartialSchedule) -> int:
        order = schedule.orders[0]
        again = PartialSchedule(schedule.timeline.copy(), 0)
        again = _extend(cache, again, first[order], order)
        waited = again.timeline.slot - schedule.timeline.slot - alone[order].timeline.slot
        return schedule.timeline.busy_until + waited

    best = min(kept, key=cycles)
    return best.orders, cycles(best)


def _best(extended: Sequence[PartialSchedule], beam: int) -> list[PartialSchedule]:
    """Return the most promising schedules.

    For each bank, equal numbers are kept of the schedules that write their last result earliest and of those that issue
    their last pixel earliest, because either may lead to the fastest program.
    """
    if beam == 1:
        return [min(extended, key=lambda s: (s.timeline.busy_until, s.timeline.slot))]
    kept: list[PartialSchedule] = []
    for bank in (0, 1):
        some = [schedule for schedule in extended if schedule.bank == bank]
        by_write = sorted(some, key=lambda s: (s.timeline.busy_until, s.timeline.slot))
        by_slot = sorted(some, key=lambda s: (s.timeline.slot, s.timeline.busy_until))
        kept += by_write[: max(1, beam // 4)] + by_slot[: max(1, beam // 4)]
    return list(dict.fromkeys(kept))
