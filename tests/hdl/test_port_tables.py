"""The port table in the docstring of every component of the core, against its signature."""

import re

import pytest
from amaranth.lib.wiring import In
from support.machines import small

from etchnet.hdl.blocks.banked_ram import BankedRam
from etchnet.hdl.blocks.crc import FrameCheck
from etchnet.hdl.blocks.ram import Ram
from etchnet.hdl.blocks.scan_harness import ScanHarness
from etchnet.hdl.blocks.semaphore import Semaphore
from etchnet.hdl.core.accumulators import AccumulatorBank, AccumulatorLane
from etchnet.hdl.core.array.array import SystolicArray
from etchnet.hdl.core.array.element import ProcessingElement
from etchnet.hdl.core.array.line_buffer import LineBuffer
from etchnet.hdl.core.array.pixel_reader import PixelReader
from etchnet.hdl.core.array.weights import WeightMemory
from etchnet.hdl.core.control.counters import Counters
from etchnet.hdl.core.control.image_walk import ImageWalk
from etchnet.hdl.core.control.loader import Loader
from etchnet.hdl.core.control.packet_reader import PacketReader
from etchnet.hdl.core.control.pass_timer import PassTimer
from etchnet.hdl.core.control.runs import Runs
from etchnet.hdl.core.control.sender import Sender
from etchnet.hdl.core.control.sequencer import Sequencer
from etchnet.hdl.core.control.tokens import Tokens
from etchnet.hdl.core.control.window_filter import WindowFilter
from etchnet.hdl.core.fold_router import FoldRouter
from etchnet.hdl.core.loadable_memory import LoadableMemory
from etchnet.hdl.core.machine import Machine
from etchnet.hdl.core.output.stage import OutputStage
from etchnet.hdl.core.result_memory import ResultMemory
from etchnet.hdl.core.row_reader import RowReader

CONFIG = small(depthwise=2)
RAM = Ram(bits=8, depth=4, name="table", latency=2)
COMPONENTS = [
    RAM,
    ScanHarness(RAM),
    Semaphore(initial=0, maximum=1),
    FrameCheck(),
    AccumulatorLane(),
    LoadableMemory(CONFIG, bits=8, depth=4, name="table", latency=1),
    ProcessingElement(CONFIG, row=0, shared=True),
    Machine(CONFIG, status=True),
    Tokens(),
    *(
        kind(CONFIG)
        for kind in (
            AccumulatorBank,
            Counters,
            FoldRouter,
            ImageWalk,
            LineBuffer,
            Loader,
            OutputStage,
            PacketReader,
            PassTimer,
            PixelReader,
            ResultMemory,
            RowReader,
            Runs,
            Sender,
            Sequencer,
            SystolicArray,
            WeightMemory,
            WindowFilter,
        )
    ),
]
RULE = re.compile(r"^ *=+(  =+)+$", re.MULTILINE)


def table(component):
    """Return the rows of the docstring's table, without its heading."""
    docstring = type(component).__doc__
    rules = list(RULE.finditer(docstring))
    assert len(rules) == 3, "one table between three rules"
    text = docstring[rules[1].end() : rules[2].start()]
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: type(c).__name__)
def test_the_table_names_every_port(component):
    assert {row[0] for row in table(component)} == set(component.signature.members)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: type(c).__name__)
def test_the_table_has_the_directions(component):
    if isinstance(component, Tokens):
        return  # its table says who puts and who takes instead
    for name, direction, *_ in table(component):
        assert direction == ("in" if component.signature.members[name].flow is In else "out"), name


def test_a_banked_memory_has_the_ports_of_the_memory_that_it_stands_for():
    assert BankedRam(RAM).signature.members == RAM.signature.members
