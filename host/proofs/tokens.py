"""Tokens never over- or underflow in the machine as it is wired: for all programs, packets and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, and_
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from etchnet.hdl.core.control.tokens import TOKENS, WEIGHT_TOKENS
from etchnet.hdl.core.fold_router import FoldRouter
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.drain_walk import DrainWalk
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.core.result_memory import ResultMemory
from etchnet.hdl.isa import Destination, Header, Target
from etchnet.hdl.isa.config import Config
from etchnet.host.proofs.harness import Edit, Harness
from etchnet.host.proofs.induction import Control, prove_all
from etchnet.host.proofs.result import Proof

__all__ = ["RULES", "Rule", "TokensHarness", "tokens"]


@dataclass(frozen=True)
class Rule:
    """A rule for programs and packets, without which a token would over- or underflow."""

    name: str
    statement: str


RULES = (
    Rule(
        "input_commit",
        "An INPUT packet with commit hands over a half of the input memory that it, or an INPUT packet before it, has "
        "acquired and that is not committed yet.",
    ),
    Rule(
        "input_release",
        "A pass with release_input has wait_input, or a pass before it had and no pass has released the half since.",
    ),
    Rule(
        "output_commit",
        "When the last row of a drain with commit is read, a pass with wait_output has begun whose half is not "
        "committed yet.",
    ),
    Rule(
        "weights_commit",
        f"At most {WEIGHT_TOKENS} weights packets with commit have arrived whose pass with wait_weights has not begun.",
    ),
    Rule(
        "weights_release",
        f"At most {WEIGHT_TOKENS} passes with release_weights have ended whose permission no weights packet with "
        "acquire has used.",
    ),
)
"""all that is assumed of programs and packets; every other bit of both is arbitrary"""


SMALL = Config(
    rows=2,
    columns=2,
    residual_words=0,
    weight_tiles=2,
    parameter_tiles=2,
    passes=4,
    drains=4,
    accumulator_rows=4,
    activation_words=4,
    input_words=4,
    output_words=4,
)
"""the machine that is broken in controls, small because each is a netlist of its own"""


def _total(bits: Sequence[Any]) -> Value:
    """Return how many bits are 1."""
    return reduce(add, bits, Value.cast(0))


class TokensHarness(Harness):
    """A machine, and for every token a count of where it is, by what programs and packets say.

    The counts do not use the wires of the tokens: a packet takes a half of the input memory when its first data are
    accepted with acquire, a pass takes one of the output memory when it begins with wait_output, and so on. Every
    token is at any time in one place: the semaphores, the hands of a packet or a pass, a pipeline between them. Their
    sum never changes. For halves of the output memory it never grows; it does not change either as long as every drain
    is there when it begins, for otherwise a row could come before the last word of the row before it is written.
    """

    def __init__(self, config: Config, *, edit: Edit | None = None) -> None:
        self._config = config
        self.machine = Machine(config)
        super().__init__(self.machine, edit=edit)

    def specify(self, m: Module) -> None:
        """Count tokens."""
        self._follow_packets()
        self._follow_passes(m)
        self._input(m)
        self._output(m)
        self._weights(m)
        tokens = self.machine.tokens
        for name, (_, maximum) in TOKENS.items():
            semaphore = getattr(tokens, name)
            self.keep(m, f"{name}_available", semaphore.available == (semaphore.count != 0))
            self.claim(m, f"{name}_never_taken_without", ~semaphore.take | (semaphore.count != 0))
            self.claim(m, f"{name}_never_put_at_maximum", ~semaphore.put | (semaphore.count < maximum))

    def _follow_packets(self) -> None:
        """Name what packets do in this cycle."""
        inside = {name: self.inside[f"loader.packets.{name}"] for name in ("header", "first", "accepted", "last")}
        header: Any = data.View(Header.layout(self._config), inside["header"])
        begins, ends = inside["accepted"] & inside["first"] & header.acquire, inside["last"] & header.commit
        self._acquires = {target: begins & (header.target == target) for target in Target}
        self._commits = {target: ends & (header.target == target) for target in Target}

    def _follow_passes(self, m: Module) -> None:
        """Name what passes do in this cycle; state that a pass stays at the head until it has ended."""
        timer = {name: self.inside[f"sequencer.timer.{name}"] for name in ("begin", "last_pixel", "end")}
        self._begin, self._last_pixel, self._end = timer.values()
        self._pass: Any = self.machine.passes.instructions.payload.head.fields
        self._more_pixels = self.inside["sequencer.timer.more_pixels"]
        busy = self.inside["sequencer.timer.busy"]
        self.keep(m, "pass_in_progress", ~busy | self.machine.passes.instructions.valid)
        self.keep(m, "pixels_in_progress", ~self._more_pixels | busy)

    def _input(self, m: Module) -> None:
        """Halves of the input memory: free, being loaded, on their way to the sequencer, full."""
        tokens, fields = self.machine.tokens, self._pass
        acquire, commit = self._acquires[Target.INPUT], self._commits[Target.INPUT]
        loading = Signal(range(4), name="input_loading")
        m.d.sync += loading.eq(loading + acquire - commit)
        self.assume(m, "input_commit", ~commit | (loading != 0) | acquire)
        on_the_way = self.machine.loader.input_commit
        total = tokens.input_free.count + loading + on_the_way + tokens.input_full.count
        self.claim(m, "input_halves", total == TOKENS["input_free"][0])

        release, held = self._last_pixel & fields.release_input, Signal(name="input_held")
        with m.If(self._begin & fields.wait_input):
            m.d.sync += held.eq(1)
        with m.If(release):
            m.d.sync += held.eq(0)
        self.assume(m, "input_release", ~(self._begin & fields.release_input) | held | fields.wait_input)
        self.keep(m, "held_input_is_full", ~held | (tokens.input_full.count != 0))
        self.keep(m, "releasing_pass_holds_input", ~(self._more_pixels & fields.release_input) | held)

    def _output(self, m: Module) -> None:
        """Halves of the output memory: free, held by passes, being committed, full, being sent."""
        tokens, sender = self.machine.tokens, {n: self.inside[f"sender.{n}"] for n in ("valid", "sent_last")}
        group: Any = self.machine.output.walk.group
        take = self._begin & self._pass.wait_output
        commit = group.row_done & group.drain_done & group.commit
        held = Signal(range(4), name="output_held")
        m.d.sync += held.eq(held + take - commit)
        self.assume(m, "output_commit", ~commit | (held != 0))
        waits = range(1, ResultMemory.commit_delay(self._config) + 1)
        committing = [*self._output_pipeline(m), *(self.inside[f"results.commit_{stage}"] for stage in waits)]
        sending = sender["valid"] & sender["sent_last"]
        total = tokens.output_free.count + held + _total(committing) + tokens.output_full.count + sending
        self.claim(m, "output_halves", total <= TOKENS["output_free"][0])
        self.claim(m, "no_output_half_is_lost", self._strays | (total == TOKENS["output_free"][0]))

        # What `Sender` asks of a request for the counters: that nothing is left to send, and that it stays.
        running, quiet = self.machine.sequencer.running, self.machine.runs.quiet
        all_free = tokens.output_free.count == TOKENS["output_free"][0]
        self.keep(m, "quiet_machine", ~quiet | (~running & all_free))
        half_begun = sender["valid"] & ~sender["sent_last"]
        self.keep(m, "half_being_sent_is_full", ~half_begun | (tokens.output_full.count != 0))
        nothing_left = ~tokens.output_full.available & ~sender["valid"]
        requested, asked = self.machine.sender.counters, Signal(name="counters_asked")
        self.claim(m, "counters_when_all_is_sent", ~requested | nothing_left)
        m.d.sync += asked.eq(requested & ~self.machine.sender.counters_done)
        self.keep(m, "no_run_waits_with_counters", ~requested | ~self.machine.loader.run_pending)
        self.claim(m, "counters_until_done", ~asked | requested)

    def _output_pipeline(self, m: Module) -> list[Value]:
        """Return, for every stage of the output stage, whether a commit is in it."""
        inside, config, latency = self.inside, self._config, OutputStage.latency(self._config)
        layout = DrainWalk.group_layout(config)
        groups: list[Any] = [data.View(layout, inside[f"output.group_{stage}"]) for stage in range(1, latency + 1)]
        rows = [inside[f"output.live_{stage}"][1] for stage in range(1, latency + 1)]
        found: list[Value] = [row & g.drain_done & g.commit for row, g in zip(rows, groups, strict=True)]

        # The last stage is the row writer, where a row of several words stays until they are written.
        now, row = groups[-1], rows[-1]
        to_accumulators = now.destination == Destination.ACCUMULATORS
        several = config.words_per_pixel() > 1 or (now.wide & (config.words_per_pixel(wide=True) > 1))
        names = ("to_memory", "ends_now", "ends_rest", "resting", "extra")
        writer = {name: inside[f"output.writer.{name}"] for name in names}
        rest: Any = data.View(layout, inside["output.writer.rest_now"])
        self.keep(m, "row_to_memory", writer["to_memory"] == (row & ~to_accumulators))
        self.keep(m, "row_ends_now", writer["ends_now"] == (row & now.drain_done & (to_accumulators | ~several)))
        self.keep(m, "row_ends_later", writer["ends_rest"] == (rest.drain_done & (writer["extra"] == 1)))
        self.keep(m, "row_rests", writer["resting"] == (writer["extra"] != 0))
        self._spacing(m, rows, [self._words(group) for group in groups], writer["extra"])
        return [*found, rest.drain_done & rest.commit & (writer["extra"] != 0)]

    def _words(self, group: Any) -> Value:
        """Return how many words the row of a group fills; a row for the accumulators counts as one."""
        config = self._config
        words = Mux(group.wide, config.words_per_pixel(wide=True), config.words_per_pixel())
        found: Value = Mux(group.destination == Destination.ACCUMULATORS, 1, words)
        return found

    def _spacing(self, m: Module, rows: list[Any], words: list[Value], extra: Value) -> None:
        """State that a row does not reach the row writer before all words of the row before it are written.

        This holds as long as drains are there when they begin, with the values derived from their fields, as the
        instruction memory delivers them (`FetchHarness`).
        """
        config, walk = self._config, {}
        for name in ("active", "step", "fresh", "last_step_later", "last_later"):
            walk[name] = self.inside[f"output.walk.{name}"]
        active, step, fresh = walk["active"], walk["step"], walk["fresh"]
        payload: Any = self.machine.drains.instructions.payload
        derived = payload.derived
        fit = [derived[name] == value for name, value in DrainWalk.derive(config, payload.head.fields).items()]
        strayed, self._strays = Signal(name="strayed"), Signal(name="strays")
        there = self.machine.drains.instructions.valid & reduce(and_, fit)
        m.d.comb += self._strays.eq(strayed | (active & ~there))
        m.d.sync += strayed.eq(self._strays)

        def keep(name: str, condition: Value) -> None:
            self.keep(m, name, self._strays | condition)

        last = derived.last_step
        keep("step_starts_at_0", (active & ~fresh) | (step == 0))
        keep("idle_walk_is_fresh", active | fresh)
        keep("last_step_is_known", ~active | fresh | (walk["last_step_later"] == (step == last)))
        keep("drain_ends_with_a_step", fresh | ~walk["last_later"] | walk["last_step_later"])
        keep("step_in_range", ~active | (step <= last))
        # The earliest cycle, from this one on, in which the walk can end a row.
        groups = config.groups
        later = Mux(step < groups, groups - 1 - step, last + groups - step)
        earliest = Signal(range(2 * config.drain_cycles_per_row(wide=True) + 2), name="earliest_row")
        m.d.comb += earliest.eq(Mux(active, later, groups))
        most = config.words_per_pixel(wide=True)
        for stage, (row, count) in enumerate(zip(rows, words, strict=True), 1):
            keep(f"next_row_after_{stage}", ~row | (stage + earliest >= count))
            for before in range(max(1, stage - most + 1), stage):
                keep(f"rows_apart_{stage}_{before}", ~row | ~rows[before - 1] | (count <= stage - before))
        keep("rest_in_range", extra < most)
        keep("row_waits_for_rest", extra <= len(rows) + earliest)
        for distance in range(min(most, len(rows))):
            keep(f"rest_before_row_{distance}", (extra <= distance) | ~rows[-1 - distance])

    def _weights(self, m: Module) -> None:
        """Weights packets: permitted and committed, by what programs and packets say, and by the semaphores."""
        tokens, fields = self.machine.tokens, self._pass
        release, acquire = self._end & fields.release_weights, self._acquires[Target.WEIGHTS]
        permitted = self._count(m, "weights_permitted", release, acquire, rule="weights_release")
        stages = range(1, FoldRouter.delay(self._config) + 1)
        releasing = [self.machine.sequencer.fold.release_weights]
        releasing += [self.inside[f"fold_router.fold_live_{stage}"][3] for stage in stages]
        self.claim(m, "weights_permissions", tokens.weights_free.count + _total(releasing) == permitted)

        commit, use = self._commits[Target.WEIGHTS], self._begin & fields.wait_weights
        committed = self._count(m, "weights_committed", commit, use, rule="weights_commit")
        on_the_way = self.machine.loader.weights_commit
        self.claim(m, "weights_packets", tokens.weights_full.count + on_the_way == committed)

    def _count(self, m: Module, name: str, more: Value, less: Value, *, rule: str) -> Signal:
        """Count events up and down; assume that the count stays within the tokens for weights."""
        count = Signal(range(2 * WEIGHT_TOKENS), name=name)
        m.d.sync += count.eq(count + more - less)
        self.assume(m, rule, ~(more & ~less & (count == WEIGHT_TOKENS)))
        self.keep(m, f"{name}_in_range", count <= WEIGHT_TOKENS)
        return count


def _set(path: str, name: str, value: int) -> Any:
    """Return the statements of an edit that sets a signal."""

    def statements(inside: Mapping[str, Any]) -> list[Any]:
        return [inside[f"{path}.{name}"].eq(value)]

    return statements


EDITS = tuple(
    Edit(name, path, domain, _set(path, signal, value))
    for name, path, domain, signal, value in (
        ("no packet waits for a token", "loader", "comb", "blocked", 0),
        ("weights packets take no token", "loader", "comb", "weights_take", 0),
        ("inputs take no token", "loader", "comb", "input_take", 0),
        ("passes do not wait for inputs", "sequencer", "comb", "input_full", 1),
        ("passes do not wait for a half of the output memory", "sequencer", "comb", "output_free", 1),
        ("passes take no half of the output memory", "sequencer", "comb", "output_take", 0),
        ("passes release their input with every pixel", "sequencer.timer", "comb", "last_pixel", 1),
        ("commits with rows of several words are lost", "output.writer", "sync", "ends_rest", 0),
        ("every word that is sent frees a half", "sender", "sync", "sent_last", 1),
    )
)


def tokens(config: Config, *, cycles: int = 12) -> Proof:
    """Prove that no semaphore of a machine is taken while it is empty, or put while it is full.

    The rules are left out one by one as controls, and a small machine is broken in several ways. `cycles` is the length
    of the runs that are searched for a violation.
    """
    machine = TokensHarness(config)
    return prove_all(
        "tokens",
        "No token is taken that is not there and none is put beyond the maximum; free, loading and full halves of the "
        "input memory are always 2 together; halves of the output memory that are free, held, being committed, full "
        "and being sent are never more than 2, and never fewer as long as each drain has been fetched when it begins; "
        "the semaphores of weights count what programs and packets say; the counters are requested only when "
        "nothing else is left to send, and until they have been answered",
        {"machine": machine},
        assumptions=tuple(rule.statement for rule in RULES),
        controls=[
            *(Control(f"without the rule {rule.name}", machine, rule.name) for rule in RULES),
            *(Control(edit.name, TokensHarness(SMALL, edit=edit)) for edit in EDITS),
        ],
        cycles=cycles,
    )
