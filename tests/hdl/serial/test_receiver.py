"""The receiving half of a UART, on lines drawn bit by bit."""

import pytest
from support import rtl

from etchnet.hdl.serial.receiver import UartReceiver


def line(data, divisor, *, gap=0):
    """Return the levels of a line that sends bytes, one level per cycle, with idle cycles after each byte."""
    levels = [1] * 3
    for byte in data:
        bits = [0, *(byte >> i & 1 for i in range(8)), 1]
        levels += [bit for bit in bits for _ in range(divisor)] + [1] * gap
    return levels


def receive(levels, divisor):
    """Return the bytes that a receiver takes from a line, and the cycles of their `valid`."""
    found = []

    def bench():
        for cycle, level in enumerate([*levels, *[1] * 2 * divisor]):
            outputs = yield {"rx": level}
            if outputs["valid"]:
                found.append((cycle, outputs["data"]))

    rtl.run(UartReceiver(divisor), bench())
    return found


@pytest.mark.parametrize("divisor", [4, 5, 16])
@pytest.mark.parametrize("gap", [0, 7])
def test_bytes_arrive_lowest_bit_first(divisor, gap):
    data = bytes([0x00, 0xFF, 0x01, 0x80, 0xA5])
    assert bytes(byte for _, byte in receive(line(data, divisor, gap=gap), divisor)) == data


@pytest.mark.parametrize("divisor", [4, 5, 16])
def test_valid_is_high_in_the_middle_of_the_stop_bit(divisor):
    idle = 3
    ((cycle, _),) = receive(line(b"x", divisor), divisor)
    synchroniser = 3  # two registers, and the one of valid
    assert cycle == synchroniser + idle + 9 * divisor + divisor // 2


@pytest.mark.parametrize("width", range(1, 8))
def test_a_start_bit_shorter_than_half_a_bit_is_noise(width):
    levels = [1] * 5 + [0] * width + [1] * 40
    assert bytes(byte for _, byte in receive(levels + line(b"u", 16), 16)) == b"u"


def test_a_byte_without_its_stop_bit_is_dropped_and_all_until_the_line_is_high_again():
    divisor = 8
    broken = line(b"", divisor) + [0] * 25 * divisor
    assert [byte for _, byte in receive(broken + line(b"v", divisor), divisor)] == list(b"v")


def test_the_divisor_has_a_minimum():
    with pytest.raises(ValueError, match="divisor must be at least 4, not 3"):
        UartReceiver(3)
