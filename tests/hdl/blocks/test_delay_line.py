"""Delay lines, with and without reset."""

import numpy as np
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support import rtl

from etchnet.hdl.blocks.delay_line import delay, delay_line

CYCLES = 3


class Lines(wiring.Component):
    """One delay line that a reset clears and one that it does not, and a plain delay."""

    def __init__(self):
        super().__init__(
            {"value": In(8), "cleared": Out(8 * (CYCLES + 1)), "kept": Out(8 * (CYCLES + 1)), "last": Out(8)}
        )

    def elaborate(self, platform):
        m = Module()
        lines = {
            name: delay_line(m, self.value, CYCLES, name=name, resets=name == "cleared") for name in ("cleared", "kept")
        }
        for name, line in lines.items():
            assert len(line) == CYCLES + 1
            for index, stage in enumerate(line):
                m.d.comb += getattr(self, name)[8 * index : 8 * index + 8].eq(stage)
        m.d.comb += self.last.eq(delay(m, self.value, CYCLES, name="last"))
        return m


class WithReset(wiring.Component):
    def __init__(self):
        self.lines = Lines()
        super().__init__({**self.lines.signature.members, "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        reset = Signal()
        m.submodules.lines = ResetInserter(reset)(self.lines)
        m.d.comb += [
            reset.eq(self.reset),
            self.lines.value.eq(self.value),
            self.cleared.eq(self.lines.cleared),
            self.kept.eq(self.lines.kept),
            self.last.eq(self.lines.last),
        ]
        return m


def test_every_stage_is_a_cycle_older_than_the_one_before():
    random = np.random.default_rng(0)

    def bench():
        kept, cleared = [0] * CYCLES, [0] * CYCLES
        for _ in range(60):
            value, reset = int(random.integers(256)), int(random.random() < 0.1)
            seen = yield {"value": value, "reset": reset}
            assert seen["kept"].to_bytes(CYCLES + 1, "little") == bytes([value, *kept])
            assert seen["cleared"].to_bytes(CYCLES + 1, "little") == bytes([value, *cleared])
            assert seen["last"] == cleared[-1]
            kept = [value, *kept[:-1]]
            cleared = [0] * CYCLES if reset else [value, *cleared[:-1]]

    rtl.run(WithReset(), bench())


def test_a_delay_of_0_is_the_value_itself():
    value = Signal(8)
    assert delay(Module(), value, 0, name="none") is value
