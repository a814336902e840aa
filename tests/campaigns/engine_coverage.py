"""Coverage of random sessions, and the list of all that they must cover."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from support.compare_sessions import Outcome
from support.random_machines import VALUES
from support.sessions import Session
from support.untimed import ANSWER

from etchnet.hdl.isa import (
    HEADER_WORDS,
    Counter,
    Destination,
    Drain,
    Fold,
    Parameters,
    Pass,
    RunCommand,
    Source,
    Target,
    TileKind,
)
from etchnet.hdl.isa.config import Config
from etchnet.hdl.isa.instruction import Instruction
from etchnet.sim.engines.exact.tokens import ReadyPattern
from etchnet.sim.engines.history import History
from etchnet.sim.timing import Latencies

Item = tuple[str, str]
"""a group, such as a field, and one of the things that it must have been, such as a range of values"""

ENUMS = {"kind": TileKind, "source": Source, "fold": Fold, "hold": Fold, "destination": Destination, "target": Target}
NUMBER = ("0", "1", "between", "high")
"""ranges of unsigned numbers: `high` has the field's highest bit, `between` is neither that nor 0 nor 1"""
SIGNED = ("lowest", "negative", "-1", "0", "1", "positive", "highest")

EXEMPT: dict[Item, str] = {
    ("Pass.pixels", "0"): "not allowed",
    ("Drain.tiles", "0"): "not allowed",
    ("Drain.pixels", "0"): "not allowed",
    ("RunCommand.passes", "0"): "not allowed",
    ("RunCommand.drains", "0"): "not allowed",
    ("RunCommand.output_words", "0"): "not allowed",
    ("RunCommand.repeats", "0"): "not allowed",
    ("RunCommand.repeats", "high"): "2**31 repeats take hours on a chip",
    ("Header.address", "high"): "no memory of a small machine has so many words",
    ("Pass.address", "lowest"): "as far below word 0 as the largest memory reaches above it: no walk leads back",
    ("Pass.address", "highest"): "the last word of a memory of 2**n words",
}
"""what need not be covered, and why"""

WAITS = ("wait_input", "wait_weights", "wait_output")
LOADER_WAITS = ("INPUT", "WEIGHTS", "RUN", "COUNTERS")


def _range(value: int, shape: Shape) -> str:
    """Return the range of a number in a field."""
    if not shape.signed:
        if value in (0, 1):
            return str(value)
        return "high" if value >> (shape.width - 1) else "between"
    top = (1 << (shape.width - 1)) - 1
    named = {-top - 1: "lowest", top: "highest", -1: "-1", 0: "0", 1: "1"}
    return named.get(value) or ("negative" if value < 0 else "positive")


def _fields(record: Instruction, config: Config) -> Iterator[Item]:
    kind = type(record)
    for name, f in kind.layout(config):
        group, value = f"{kind.__name__}.{name}", getattr(record, str(name))
        if name in ENUMS:
            yield group, ENUMS[str(name)](value).name
        elif f.width == 1:
            yield group, str(int(value))
        elif f.width:
            yield group, _range(int(value), Shape.cast(f.shape))


def _of_record(kind: type[Instruction], config: Config) -> Iterator[Item]:
    """Yield everything that the fields of a record must have been."""
    for name, f in kind.layout(config):
        group = f"{kind.__name__}.{name}"
        shape = Shape.cast(f.shape)
        if name in ENUMS:
            items: Iterable[str] = [member.name for member in ENUMS[str(name)]]
        elif shape.width == 1:
            items = ["0", "1"]
        else:
            # A number of two bits that is neither 0 nor 1 has the highest bit.
            items = SIGNED if shape.signed else [item for item in NUMBER if shape.width > 2 or item != "between"]
        yield from ((group, item) for item in items)


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else "one" if part == 1 else "some"


def _machine(config: Config) -> Iterator[Item]:
    for name in VALUES:
        yield f"Config.{name}", str(getattr(config, name))
    difference = config.rows - config.columns
    yield "Config.rows, columns", "more rows" if difference > 0 else "more columns" if difference < 0 else "equal"
    yield "Config.weight_rows", _share(config.weight_rows, config.rows)
    yield "Config.requantisers", _share(config.requantisers, config.columns)
    yield "Config.depthwise", str(config.depthwise)
    yield "tiles_per_word", str(min(4, config.tiles_per_word))
    yield "words_per_pixel", str(min(3, config.words_per_pixel()))
    yield "link words of a memory word", "1" if 8 * config.rows <= config.link_bits else "several"


def required() -> list[Item]:
    """Return everything that a whole campaign must cover."""
    # Every field has more than one bit here, unless it is a flag.
    square = Config(rows=9, columns=9, depthwise=3)
    found = [item for kind in (Pass, Drain, Parameters, RunCommand) for item in _of_record(kind, square)]
    found = [item for item in found if item[0] != "Drain.lane"] + [("Drain.lane", item) for item in "0123"]
    found += [("Header.address", item) for item in NUMBER]
    found += [(f"Config.{name}", str(value)) for name, values in VALUES.items() for value in values]
    found += [("Config.rows, columns", item) for item in ("equal", "more rows", "more columns")]
    found += [(f"Config.{name}", item) for name in ("weight_rows", "requantisers") for item in ("all", "one", "some")]
    found += [("Config.depthwise", item) for item in ("0", "2", "3")]
    found += [("tiles_per_word", item) for item in "1234"] + [("words_per_pixel", item) for item in "123"]
    found += [("link words of a memory word", item) for item in ("1", "several")]
    for kind in TileKind:
        for hold in Fold:
            if kind == TileKind.DEPTHWISE and hold != Fold.SET:
                continue
            folds = Fold if hold == Fold.SET else (Fold.SET, hold)
            found += [("tile x fold x hold", f"{kind.name} {fold.name} {hold.name}") for fold in folds]
    found += [("tile x source", f"{kind.name} {source.name}") for kind in TileKind for source in Source]
    for destination in Destination:
        for source in ("bank", "residual"):
            for raw in ("rounded", "raw"):
                widths = ("int8", "int32") if destination == Destination.OUTPUT else ("",)
                found += [("drain", " ".join([destination.name, source, raw, w]).strip()) for w in widths]
    found += [("lanes", f"{d} {lane}") for d in ("ACTIVATION", "OUTPUT") for lane in ("first", "later", "wraps")]
    for fold in Fold:
        found += [("drain to accumulators", f"{fold.name} {bank}") for bank in ("other bank", "residual")]
    found += [("drain to accumulators", "SET same bank")]
    for target in (Target.INPUT, Target.WEIGHTS):
        found += [("packet", f"{target.name} {flags}") for flags in ("plain", "acquire", "commit", "both")]
    found += [("packet", f"{t.name} plain") for t in Target]
    found += [("pass waited", " ".join(w)) for w in [(a,) for a in WAITS] + [("wait_input", "wait_output")]]
    found += [("pass did not wait", w) for w in WAITS]
    found += [("loader waited", w) for w in LOADER_WAITS] + [("loader did not wait", w) for w in LOADER_WAITS[:3]]
    found += [("tokens at once", f"{name} 2") for name in ("input_full", "weights_free", "weights_full", "output_full")]
    found += [("counter", f"{c.name} {what}") for c in Counter for what in ("zero", "more")]
    found += [("technology", item) for item in ("portable", "ice40", "ecp5")]
    found += [("bus", item) for item in ("axi", "tinytapeout", "uart")]
    found += [("session", item) for item in SESSION]
    found += [(f"link {way}", item) for way in ("in", "out") for item in LINK]
    return [item for item in dict.fromkeys(found) if item not in EXEMPT]


SESSION = (
    "several runs before the counters",
    "several exchanges",
    "an exchange without words to send",
    "an exchange without words to receive",
    "an answer in several exchanges",
    "a half of the input in several packets",
    "a program that runs again",
    "a program loaded while another may run",
    "parameters loaded again",
    "a program that releases no input",
    "a program that releases several inputs",
    "bytes that nothing wrote",
)
LINK = ("never stalls", "a gap of one cycle", "a single cycle open", "a stall of 100 cycles or more")


class Coverage:
    """How often each item was seen."""

    def __init__(self) -> None:
        self.seen: collections.Counter[Item] = collections.Counter()

    def add(self, session: Session, exact: Outcome, history: History) -> None:
        """Take note of a session, of its outcome, and of the history of the exact engine."""
        config, see = session.config, self._see
        see(_machine(config))
        see(item for p in session.programs for record in (*p.passes, *p.drains) for item in _fields(record, config))
        see(item for record in session.parameters for item in _fields(record, config))
        see(item for command, _ in session.commands for item in _fields(command, config))
        see(item for header in session.headers for item in _fields(header, config) if item[0] == "Header.address")
        see(item for program in session.programs for item in _combinations(program, config))
        see(_headers(session))
        see(_waits(history, config))
        see(_loader_waits(session, exact))
        see(("tokens at once", f"{name} 2") for name, most in session.most.items() if most >= 2)
        see(
            ("counter", f"{counter.name} {'more' if total else 'zero'}")
            for totals in exact.counters(session)
            for counter, total in totals.items()
        )
        see(("session", item) for item in _session(session))
        for way, pattern in (("in", session.trace.offers), ("out", session.trace.accepts)):
            see((f"link {way}", item) for item in _stalls(np.asarray(pattern, bool)))

    def _see(self, items: Iterable[Item]) -> None:
        self.seen.update(items)

    def missing(self) -> list[Item]:
        """Return what must be covered and was not."""
        return [item for item in required() if item not in self.seen]

    def text(self) -> str:
        """Return a line for each group, with how often each item was seen, and the list of what is missing."""
        groups: dict[str, list[str]] = {}
        for group, item in required():
            groups.setdefault(group, []).append(item)
        lines, missing = [], self.missing()
        for group, items in groups.items():
            lines.append(f"{group}: " + ", ".join(f"{item} x{self.seen[group, item]}" for item in items))
        lines += [f"not covered: {group}: {item}" for group, item in missing]
        count = len(required())
        return "\n".join([*lines, f"covered: {count - len(missing)} of {count}"])


def _combinations(program: Any, config: Config) -> Iterator[Item]:
    """Yield the combinations of fields that a program has."""
    for p in program.passes:
        kind = TileKind(p.kind).name
        yield "tile x fold x hold", f"{kind} {Fold(p.fold).name} {Fold(p.hold).name}"
        yield "tile x source", f"{kind} {Source(p.source).name}"
    for d in program.drains:
        destination, source = Destination(d.destination), "residual" if d.residual else "bank"
        width = ("int32" if d.wide else "int8") if destination == Destination.OUTPUT else ""
        yield "drain", " ".join([destination.name, source, "raw" if d.raw else "rounded", width]).strip()
        if destination == Destination.ACCUMULATORS:
            bank = "residual" if d.residual else "same bank" if d.into == d.bank else "other bank"
            yield "drain to accumulators", f"{Fold(d.fold).name} {bank}"
        elif config.tiles_per_word > 1 and not d.wide:
            wraps = d.lane + d.tiles > config.tiles_per_word
            yield "lanes", f"{destination.name} {'wraps' if wraps else 'later' if d.lane else 'first'}"
            if d.lane >= 2:
                yield "Drain.lane", str(min(3, d.lane))


def _headers(session: Session) -> Iterator[Item]:
    names = {(False, False): "plain", (True, False): "acquire", (False, True): "commit", (True, True): "both"}
    for header in session.headers:
        yield "packet", f"{Target(header.target).name} {names[bool(header.acquire), bool(header.commit)]}"


def _waits(history: History, config: Config) -> Iterator[Item]:
    """Yield the barriers at which passes waited, from the cycles in which they were issued."""
    fetch = Latencies.of(config).fetch
    for run in history.runs:
        free = run.start + fetch
        for issues in run.issues:
            for p, issue in zip(run.passes, issues.tolist(), strict=True):
                waited = issue > free + p.idle + p.idle_requantise
                free = issue + config.pass_cycles(p.pixels)
                names = [w for w in WAITS if getattr(p, w)]
                if waited:
                    yield "pass waited", " ".join(names)
                else:
                    yield from (("pass did not wait", w) for w in names)


def _loader_waits(session: Session, exact: Outcome) -> Iterator[Item]:
    """Yield the packets that waited in the loader, from the cycles in which their words were taken."""
    offers, sent = ReadyPattern(session.trace.offers), np.flatnonzero(exact.record.offers)
    at, starts = 0, set(np.cumsum([0, *(len(e.words) for e in session.exchanges)]).tolist())
    for header, length in zip(session.headers, session.lengths, strict=True):
        # The answer to a COUNTERS packet holds up the packet after it.
        held = at + length if header.target == Target.COUNTERS else at + HEADER_WORDS
        if held < len(sent) and held not in starts:
            waited = sent[held] > offers.first(int(sent[held - 1]) + 1)
            yield f"loader {'waited' if waited else 'did not wait'}", Target(header.target).name
        at += length


def _session(session: Session) -> Iterator[str]:
    yield from session.notes
    if len(session.exchanges) > 1:
        yield "several exchanges"
    if any(not len(e.words) for e in session.exchanges):
        yield "an exchange without words to send"
    if any(not e.count for e in session.exchanges):
        yield "an exchange without words to receive"
    ends = np.cumsum([e.count for e in session.exchanges])
    if any(((ends > a) & (ends < a + ANSWER)).any() for a in session.answers):
        yield "an answer in several exchanges"
    if len(session.commands) > len({id(program) for _, program in session.commands}):
        yield "a program that runs again"
    for program in session.programs:
        releases = sum(p.release_input for p in program.passes)
        if not releases:
            yield "a program that releases no input"
        if releases > 1:
            yield "a program that releases several inputs"
    if any(not program.written[: command.output_words].all() for command, program in session.commands):
        yield "bytes that nothing wrote"


def _stalls(ready: np.ndarray) -> Iterator[str]:
    if ready.all():
        yield "never stalls"
        return
    edges = np.flatnonzero(np.diff(ready.astype(np.int8), prepend=1, append=1))
    lengths = edges[1::2] - edges[::2]
    if (lengths == 1).any():
        yield "a gap of one cycle"
    if (lengths >= 100).any():
        yield "a stall of 100 cycles or more"
    if (edges[2::2] - edges[1:-1:2] == 1).any():
        yield "a single cycle open"
