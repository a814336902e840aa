"""The checker: refuses programs that break a rule of the machine, or whose idle cycles are too few."""

from __future__ import annotations

from collections.abc import Sequence

from etchnet.hdl.isa import Destination, Drain, Fold, Pass, Source, TileKind
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.passes import is_stored
from etchnet.sim.timing.drains import drains_of
from etchnet.sim.timing.errors import ProgramError
from etchnet.sim.timing.footprint import footprints
from etchnet.sim.timing.timeline import Timeline

__all__ = ["check"]

_KINDS, _FOLDS, _DESTINATIONS = frozenset(TileKind), frozenset(Fold), frozenset(Destination)


def check(passes: Sequence[Pass], drains: Sequence[Drain], config: Config, *, repeats: int) -> None:
    """Check that a program runs correctly on a machine, `repeats` times back to back.

    Raises
    ------
    ProgramError
        A field has a value that the machine does not support; an instruction accesses rows or words that do not exist
        or are not written, or uses a half of a link memory without waiting for it; or there are too few idle cycles.
        The message names the pass or drain by its index.
    """
    if not passes or not passes[-1].release or not drains or not drains[-1].commit:
        raise ProgramError("a program must end with a pass that releases a drain that commits its output")
    for index, p in enumerate(passes):
        _check_pass(index, p, config)
    for index, d in enumerate(drains):
        _check_drain(index, d, config)
    started = drains_of(passes, drains)
    _check_halves(passes, drains, started)
    timeline = Timeline(config)
    placed = footprints(passes, drains, started, config)
    # The second repeat may overlap the drains of the first. Later repeats behave like the second.
    for _ in range(min(repeats, 2)):
        for index, (footprint, its_drains) in enumerate(placed):
            idle = footprint.instruction.idle + footprint.instruction.idle_requantise
            start = timeline.slot + idle
            if (late := timeline.earliest(footprint, its_drains, index) - start) > 0:
                raise ProgramError(
                    f"pass {index} starts {late} cycles too early: it needs {idle + late} idle cycles, not {idle}"
                )
            drain_idle = [drains[i].idle for i in started[index]]
            needed = timeline.issue(footprint, its_drains, start, index, drain_idle)
            for i, least, waits in zip(started[index], needed, drain_idle, strict=False):
                if waits < least:
                    raise ProgramError(
                        f"drain {i} starts {least - waits} cycles too early: it needs {least} idle cycles, not {waits}"
                    )


def _check_pass(index: int, p: Pass, config: Config) -> None:
    """Check the fields of a pass, without regard to other instructions."""
    tile_words = config.load_cycles if is_stored(p.kind) else 1
    if p.pixels < 1:
        raise ProgramError(f"pass {index} must have at least 1 pixel, not {p.pixels}")
    if p.kind not in _KINDS or p.fold not in _FOLDS or p.hold not in _FOLDS:
        raise ProgramError(
            f"pass {index} has tile kind {p.kind}, fold {p.fold} and hold {p.hold}: one of them does not exist"
        )
    if p.hold != Fold.SET and p.fold not in (Fold.SET, p.hold):
        raise ProgramError(
            f"pass {index} holds a row by {p.hold.name.lower()}: its fold must be set or {p.hold.name.lower()}, "
            f"not {p.fold.name.lower()}"
        )
    if p.kind != TileKind.IDENTITY and p.weights + tile_words > config.weight_words:
        raise ProgramError(
            f"pass {index} reads weight word {p.weights + tile_words - 1}; the last is {config.weight_words - 1}"
        )
    if p.kind == TileKind.DEPTHWISE:
        _check_windows(index, p, config)


def _check_windows(index: int, p: Pass, config: Config) -> None:
    """Check that the windows of a depthwise pass are within the pixels that it walks."""
    if not config.depthwise:
        raise ProgramError(f"pass {index} is depthwise, which this machine does not support")
    if p.hold != Fold.SET:
        # While a row is held, the adders also fold the sums that should be dropped.
        raise ProgramError(
            f"pass {index} is depthwise and holds a row by {p.hold.name.lower()}: it must give each sum "
            "a row of its own"
        )
    if not config.shortest_line <= p.line_pixels <= config.longest_line:
        raise ProgramError(
            f"pass {index} has lines of {p.line_pixels} pixels; depthwise passes take "
            f"{config.shortest_line} to {config.longest_line}"
        )
    if not len(p.kept(config)):
        raise ProgramError(f"pass {index} walks {p.pixels} pixels: no window fits within them")


def _check_drain(index: int, d: Drain, config: Config) -> None:
    """Check the fields of a drain, without regard to other instructions."""
    if d.tiles < 1 or d.pixels < 1:
        raise ProgramError(f"drain {index} must have at least 1 tile and 1 pixel, not {d.tiles} and {d.pixels}")
    if d.destination not in _DESTINATIONS or d.fold not in _FOLDS:
        raise ProgramError(
            f"drain {index} has destination {d.destination} and fold {d.fold}: one of them does not exist"
        )
    last = d.parameters + (1 if d.shared else d.tiles) * config.groups - 1
    if last >= config.parameter_words:
        raise ProgramError(f"drain {index} reads parameter word {last}; the last is {config.parameter_words - 1}")
    if d.lane >= config.tiles_per_word:
        raise ProgramError(f"drain {index} has lane {d.lane}; the last is {config.tiles_per_word - 1}")
    if d.low > d.high:
        raise ProgramError(f"drain {index} clamps to {d.low}..{d.high}: low must not be above high")
    if d.wide and d.destination != Destination.OUTPUT:
        raise ProgramError(f"drain {index} writes int32: only the output memory holds it")
    if (d.residual or d.destination == Destination.RESIDUAL) and not config.residual_words:
        raise ProgramError(f"drain {index} uses the residual memory, which this machine does not have")


def _check_halves(passes: Sequence[Pass], drains: Sequence[Drain], started: Sequence[Sequence[int]]) -> None:
    """Check that passes wait for a half of the input memory before they read it, and for one of the output memory."""
    input_held = output_held = False
    for index, p in enumerate(passes):
        input_held |= p.wait_input
        if (p.source == Source.INPUT or p.release_input) and not input_held:
            raise ProgramError(f"pass {index} reads the input memory, which it has not waited for or has released")
        input_held &= not p.release_input
        if p.wait_output and output_held:
            raise ProgramError(f"pass {index} waits for a second half of the output memory; a program has one")
        output_held |= p.wait_output
        for drain in (drains[i] for i in started[index]):
            if drain.commit and (drain.destination != Destination.OUTPUT or drain is not drains[-1]):
                raise ProgramError(
                    f"the drain of pass {index} commits an output; only the last may, and it must write one"
                )
            if drain.destination == Destination.OUTPUT and not output_held:
                raise ProgramError(f"the drain of pass {index} writes the output memory, which no pass has waited for")
    if input_held and any(p.release_input for p in passes):
        raise ProgramError("a program that releases input must release every half that it waits for")
