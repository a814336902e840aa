"""Private names of Amaranth: their effect, and that only one file uses them."""

import gc
import re
import warnings
from pathlib import Path

from amaranth.hdl import Elaboratable, Fragment, Module, Signal, UnusedElaboratable, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from etchnet.hdl.blocks import amaranth_internals

ROOT = Path(amaranth_internals.__file__).parents[2]
PRIVATE = re.compile(r"\bamaranth(\.\w+)*\._\w+|_MustUse")


class Unelaborated(Elaboratable):
    def elaborate(self, platform):
        """Never called."""


def warned(mark):
    """Return whether an elaboratable that is never elaborated causes a warning."""
    Fragment.get(Module(), None)  # Amaranth warns once something has been elaborated
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        component = Unelaborated()
        if mark:
            amaranth_internals.mark_used(component)
        del component
        gc.collect()
    return any(issubclass(w.category, UnusedElaboratable) for w in caught)


def test_a_marked_component_causes_no_warning():
    assert warned(mark=False)
    assert not warned(mark=True)


def test_the_yosys_is_recent_enough():
    assert amaranth_internals.yosys().version() >= (0, 40)


class Inner(wiring.Component):
    """A register that has the name of a port, of one bit more."""

    count: Out(4)

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        m.d.sync += count.eq(count + 1)
        m.d.comb += self.count.eq(count)
        return m


class Outer(wiring.Component):
    """Signals that share names or have none, and a memory."""

    count: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner()
        m.submodules.table = table = Memory(shape=unsigned(5), depth=2, init=())
        read = table.read_port()
        low, high = Signal(2), Signal(3)
        first, second, third = Signal(1), Signal(2), Signal(3)
        twice = [Signal(bits, name="twice") for bits in (6, 7)]
        m.d.comb += [self.count.eq(inner.count), read.en.eq(1), *(signal.eq(1) for signal in twice)]
        m.d.sync += [signal.eq(read.data) for signal in (low, high, first, second, third)]
        return m


def test_signals_are_found_by_their_names():
    """A register before a port, none of two, and what a tuple assignment names; a memory's data by its path."""
    found = amaranth_internals.driven_signals(Fragment.get(Outer(), None))
    assert {name: len(signal) for name, signal in found.items()} == {
        "count": 4,
        "read__en": 1,
        "low": 2,
        "high": 3,
        "first": 1,
        "second": 2,
        "third": 3,
        "inner.count": 3,
        "table.read_0": 5,
    }


def test_no_other_file_uses_a_private_name():
    own = Path(amaranth_internals.__file__)
    files = [path for wing in ("hdl", "sim", "host") for path in (ROOT / wing).rglob("*.py") if path != own]
    assert len(files) > 100
    assert [path.name for path in files if PRIVATE.search(path.read_text())] == []
