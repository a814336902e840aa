"""The port table in the docstring of every component of the gateware, against the component's signature."""

import contextlib
import importlib
import inspect
import pkgutil
import re

import pytest
from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from support.machines import small

import etchnet.hdl
from etchnet.hdl.blocks.banked_ram import BankedRam
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.scan_harness import ScanHarness
from etchnet.hdl.blocks.semaphore import Semaphore
from etchnet.hdl.buses.axi import Axi
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.core.control.fetch import InstructionMemory
from etchnet.hdl.core.control.pass_lookahead import derive, layout, reset
from etchnet.hdl.core.loadable_memory import LoadableMemory
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import COUNTER_BITS, Pass
from etchnet.hdl.serial.framed_link import FramedLink
from etchnet.hdl.serial.receiver import UartReceiver
from etchnet.hdl.serial.rings import IncomingRing, OutgoingRing
from etchnet.hdl.serial.transmitter import UartTransmitter
from etchnet.hdl.serial.uart import Uart
from etchnet.hdl.targets.boards import BoardTop
from etchnet.hdl.targets.tinytapeout import TinyTapeout

CONFIG = small(depthwise=2)
RAM = Ram(bits=8, depth=4, name="table", latency=2)
UART = Uart(Machine(CONFIG), clock_hz=12e6)
RING = {"link_bits": 32, "size": 256, "latency": 1}
BUILT = [
    RAM,
    UART,
    Axi(Machine(CONFIG, status=True)),
    BankedRam(RAM),
    BoardTop(UART, family="ecp5"),
    FramedLink(link_bits=32, identity=b"board"),
    IncomingRing(**RING),
    InstructionMemory(Pass, CONFIG, depth=4, derived=layout(CONFIG), derive=derive, reset=reset(CONFIG)),
    LoadableMemory(CONFIG, bits=8, depth=4, name="table", latency=1),
    Machine(CONFIG, status=True),
    OutgoingRing(**RING),
    ProcessingElement(CONFIG, row=0, shared=True),
    ScanHarness(RAM),
    Semaphore(initial=0, maximum=1),
    TinyTapeout(Machine(CONFIG)),
    UartReceiver(4),
    UartTransmitter(4),
]
"""components that need other arguments than a config, or optional ones to have all of their ports"""
INHERITED = {BankedRam: Ram}
"""components whose docstrings refer to the table of another one"""
NAMES = {"depth": 4, "lanes": 1, "bits": 8, "maximum": 1, "COUNTER_BITS": COUNTER_BITS}
"""numbers that tables name besides those of the config: parameters of components in `BUILT`, and a constant"""

DIRECTIONS = {In: "in", Out: "out"}
RULE = re.compile(r"^ *=+(?:  =+)+$", re.MULTILINE)


def component_classes():
    """Return every component class that a module under `hdl` defines."""
    found = []
    for module in pkgutil.walk_packages(etchnet.hdl.__path__, "etchnet.hdl."):
        members = vars(importlib.import_module(module.name)).values()
        found += [m for m in members if inspect.isclass(m) and m.__module__ == module.name]
    return [kind for kind in found if issubclass(kind, wiring.Component)]


def build(kind):
    """Return a component of a class: one of `BUILT`, or one that takes at most a config."""
    for component in BUILT:
        if type(component) is kind:
            return component
    parameters = inspect.signature(kind).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    assert required in ([], ["config"]), f"add a {kind.__name__} to BUILT"
    return kind(CONFIG) if required else kind()


def port_table(kind):
    """Return the rows (names, direction, shape, meaning) of the table in the docstring of a class or of its base."""
    for owner in inspect.getmro(INHERITED.get(kind, kind)):
        docstring = vars(owner).get("__doc__") or ""
        rules = list(RULE.finditer(docstring))
        for top, middle, bottom in zip(rules, rules[1:], rules[2:], strict=False):
            if docstring[top.end() : middle.start()].split() == ["port", "direction", "shape", "meaning"]:
                lines = docstring[middle.end() : bottom.start()].strip().splitlines()
                return [re.split(r" {2,}", line.strip()) for line in lines]
    raise AssertionError(f"{kind.__name__} has no port table")


def described_ports(kind, members):
    """Yield (port, direction, shape) for every port in the table; a row "s_..." is for all ports with "s_"."""
    for names, direction, shape, _meaning in port_table(kind):
        for name in names.split(", "):
            prefix = name.removesuffix("...")
            if prefix == name:
                yield name, direction, shape
            else:
                assert direction == "both", name
                yield from ((port, DIRECTIONS[m.flow], "") for port, m in members.items() if port.startswith(prefix))


def number(text):
    """Return the value of a number in a table: a product of literals, and of names in `NAMES` or of the config."""
    product = 1
    for factor in text.replace("`", "").split(" x "):
        product *= int(factor) if factor.isdecimal() else NAMES.get(factor) or getattr(CONFIG, factor)
    return product


def described_shape(shape):
    """Return the Amaranth shape that a table gives by numbers, or None if it is named after a layout."""
    *sizes, last = shape.split(" x ")
    if element := re.fullmatch(r"(signed|unsigned)\((\d+)\)|int(\d+)", last):
        found = (unsigned if element[1] == "unsigned" else signed)(int(element[2] or element[3]))
        for size in reversed(sizes):
            found = data.ArrayLayout(found, number(size))
        return found
    if end := re.fullmatch(r"below (.+)|0 to (.+)", shape):
        return Shape.cast(range(number(end[1]) if end[1] else number(end[2]) + 1))
    with contextlib.suppress(AttributeError):
        return unsigned(number(shape))
    return None


def named(kinds):
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.__name__)


@named(component_classes())
def test_the_table_names_every_port_with_its_direction_and_shape(kind):
    members = build(kind).signature.members
    ports = list(described_ports(kind, members))
    assert sorted(name for name, _, _ in ports) == sorted(members)
    for name, direction, shape in ports:
        assert direction == DIRECTIONS[members[name].flow], name
        if wanted := described_shape(shape):
            shape = members[name].shape
            assert (shape if isinstance(wanted, data.Layout) else Shape.cast(shape)) == wanted, name


def test_a_component_without_a_table_fails():
    class Bare(wiring.Component):
        """A component without a table."""

        port: In(1)

    with pytest.raises(AssertionError, match="Bare has no port table"):
        port_table(Bare)
