"""The driver's engine for a machine on a bus, tested with a bus that is a dictionary."""

from __future__ import annotations

import numpy as np
import pytest

from etchnet.hdl.buses.registers import BY_NAME, REGISTERS, counter_registers
from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.host.driver.axi import AxiEngine, Bus, Registers
from etchnet.host.driver.driver import Accelerator
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import LinkError

OTHER = Config(rows=4, columns=2, requantisers=1, link_bits=64, contract="onnx-float")


class Shelf(Bus):
    """A bus whose registers hold what was written, and whose streams end at the exact engine."""

    def __init__(self, config: Config) -> None:
        self.words = {r.offset: r.reset(config) for r in REGISTERS}
        self.written: list[tuple[int, int]] = []
        self._engine = ExactEngine(config)

    def read32(self, offset: int) -> int:
        return self.words[offset]

    def write32(self, offset: int, value: int) -> None:
        self.words[offset] = value
        self.written.append((offset, value))

    def transfer(self, words: np.ndarray, count: int) -> np.ndarray:
        return self._engine.exchange(words, count)

    def set(self, register: str, value: int) -> None:
        self.words[BY_NAME[register].offset] = value


@pytest.mark.parametrize("config", [Config(), OTHER], ids=["default", "other"])
def test_the_driver_takes_the_config_that_the_machine_reports(config):
    engine = AxiEngine(Shelf(config))
    assert engine.config == config
    accelerator = Accelerator(engine=engine)
    random = np.random.default_rng(0)
    x, w = (random.integers(-128, 128, shape).astype(np.int8) for shape in ((5, 9), (9, 7)))
    assert np.array_equal(accelerator.matmul(x, w), x.astype(np.int32) @ w.astype(np.int32))


def test_a_machine_with_another_config_is_refused():
    assert AxiEngine(Shelf(OTHER), OTHER).config == OTHER
    with pytest.raises(LinkError, match="passes of the machine must be 1024, not 2048"):
        AxiEngine(Shelf(Config()), Config(passes=1024))


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        ("ID", 0xFFFFFFFF, "no machine at this address: register ID should hold 0x45544348, not 0xffffffff"),
        ("VERSION", 2 << 16 | 7, "the machine's registers must be of version 1, not 2"),
        ("FINGERPRINT", 0x1234, "register FINGERPRINT should hold 0x[0-9a-f]{8}, not 0x00001234"),
        ("CONFIG_ROWS", 15, "register FINGERPRINT should hold|no machine that this driver knows"),
        ("CONFIG_ROWS", 0, "no machine that this driver knows: rows must be a whole number from 1 to 64, not 0"),
        ("CONFIG_CONTRACT", 9, "contract of the machine is number 9, which this driver does not know"),
    ],
)
def test_anything_but_a_machine_is_refused(register, value, message):
    shelf = Shelf(Config())
    shelf.set(register, value)
    with pytest.raises(LinkError, match=message):
        AxiEngine(shelf)


def test_a_newer_machine_of_the_same_major_version_is_accepted():
    shelf = Shelf(Config())
    shelf.set("VERSION", 1 << 16 | 9)
    assert AxiEngine(shelf).config == Config()


def test_registers_by_name():
    shelf = Shelf(Config())
    registers = Registers(shelf)
    assert registers.read("ID") == 0x45544348
    assert registers.read("VERSION", "MAJOR") == 1
    # In a stored register, fields that are not named keep their values; naming one event clears no other.
    registers.write("INTERRUPT_ENABLE", PARTIAL=1)
    registers.write("INTERRUPT_ENABLE", RUN_DONE=1)
    registers.write("INTERRUPT_ENABLE", PARTIAL=0)
    registers.write("INTERRUPT_STATUS", PARTIAL=1)
    registers.write("INTERRUPT_STATUS", RUN_DONE=1)
    assert [value for _, value in shelf.written] == [2, 3, 1, 2, 1]
    with pytest.raises(ValueError, match="register STATUS is read-only"):
        registers.write("STATUS", RUNNING=1)
    with pytest.raises(ValueError, match="HALVES must be from 0 to 65535, not 65536"):
        registers.write("FRAME", HALVES=1 << 16)
    with pytest.raises(KeyError, match="FRAME has no field 'QUARTERS'"):
        registers.read("FRAME", "QUARTERS")


def test_counters_are_read_after_a_snapshot():
    shelf = Shelf(Config())
    for index, counter in enumerate(Counter):
        low, high = counter_registers(counter)
        shelf.set(low, 0xFFFF0000 + index)
        shelf.set(high, index)
    assert Registers(shelf).counters() == {c: 0xFFFF0000 + i + (i << 32) for i, c in enumerate(Counter)}
    assert shelf.written == [(BY_NAME["SNAPSHOT"].offset, 1)]


def test_reset_is_set_and_cleared():
    shelf = Shelf(Config())
    Registers(shelf).reset()
    assert shelf.written == [(BY_NAME["CONTROL"].offset, 1), (BY_NAME["CONTROL"].offset, 0)]


def test_cycle_and_record_are_not_available():
    engine = AxiEngine(Shelf(Config()))
    for attribute in ("cycle", "record"):
        with pytest.raises(LinkError, match="a machine on a bus does not"):
            getattr(engine, attribute)
