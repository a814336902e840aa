"""The register file by itself: reads and writes of every register, byte by byte."""

import random

import pytest
from support import rtl

from etchnet.hdl.buses.register import ADDRESS_BITS, Access, Source
from etchnet.hdl.buses.register_file import RegisterFile
from etchnet.hdl.buses.registers import BY_NAME, REGISTERS, field_layout, member
from etchnet.hdl.isa.config import Config

CONFIG = Config(rows=4, columns=2, contract="onnx-float")


def write(name, data, strobes=0b1111):
    return {
        "write.valid": 1,
        "write.address": BY_NAME[name].offset // 4,
        "write.data": data,
        "write.strobes": strobes,
        "read_address": BY_NAME[name].offset // 4,
    }


NO_WRITE = {"write.valid": 0}


def test_every_register_reads_its_fields():
    values = {name: random.Random(name).getrandbits(f.width) for name, f in field_layout(Source.STATUS)}

    def bench():
        yield {f"status.{name}": value for name, value in values.items()}
        for register in REGISTERS:
            outputs = yield {"read_address": register.offset // 4}
            assert outputs["read_error"] == (register.access is Access.WRITE_ONLY)
            if register.access is not Access.WRITE_ONLY:
                status = sum(
                    values[member(register, f)] << f.first for f in register.fields if f.source is Source.STATUS
                )
                assert outputs["read_data"] == register.reset(CONFIG) | status, register.name

    rtl.run(RegisterFile(CONFIG), bench())


def test_other_addresses_are_errors():
    known = {r.offset // 4 for r in REGISTERS}
    others = [word for word in range(1 << ADDRESS_BITS - 2) if word not in known]

    def bench():
        for word in others[:: len(others) // 50]:
            outputs = yield {"read_address": word, "write.valid": 1, "write.address": word, "write.strobes": 0b1111}
            assert (outputs["read_error"], outputs["write_error"]) == (1, 1)

    rtl.run(RegisterFile(CONFIG), bench())


def test_constants_and_status_refuse_writes():
    def bench():
        for register in REGISTERS:
            outputs = yield write(register.name, 0)
            assert outputs["write_error"] == (register.access is Access.READ_ONLY)

    rtl.run(RegisterFile(CONFIG), bench())


@pytest.mark.parametrize("strobes", range(16))
def test_a_stored_field_takes_the_bytes_with_a_strobe(strobes):
    def bench():
        outputs = yield write("FRAME", 0xFFFFABCD, strobes)
        assert outputs["stored.frame_halves"] == 1  # until the end of the cycle, that after reset
        outputs = yield NO_WRITE
        low = 0xCD if strobes & 1 else 0x01
        high = 0xAB if strobes & 2 else 0x00
        assert outputs["stored.frame_halves"] == outputs["read_data"] == high << 8 | low

    rtl.run(RegisterFile(CONFIG), bench())


def test_a_pulse_lasts_for_the_cycle_of_its_write():
    def bench():
        outputs = yield write("SNAPSHOT", 1)
        assert outputs["pulses.snapshot_counters"] == 1
        outputs = yield NO_WRITE
        assert outputs["pulses.snapshot_counters"] == 0
        for inputs in (write("SNAPSHOT", 0), write("SNAPSHOT", 1, 0b1110)):
            outputs = yield inputs
            assert outputs["pulses.snapshot_counters"] == 0

    rtl.run(RegisterFile(CONFIG), bench())


def test_an_event_stays_until_it_is_cleared_and_wins_over_its_clearing():
    event = "interrupt_status_run_done"

    def bench():
        yield {f"happened.{event}": 1}
        outputs = yield {f"happened.{event}": 0}
        assert outputs[f"events.{event}"] == 1
        yield write("INTERRUPT_STATUS", 0b10)  # another event's bit
        outputs = yield write("INTERRUPT_STATUS", 0b01) | {f"happened.{event}": 1}
        assert outputs[f"events.{event}"] == 1
        outputs = yield write("INTERRUPT_STATUS", 0b01) | {f"happened.{event}": 0}
        assert outputs[f"events.{event}"] == 1
        outputs = yield NO_WRITE
        assert outputs[f"events.{event}"] == 0

    rtl.run(RegisterFile(CONFIG), bench())
