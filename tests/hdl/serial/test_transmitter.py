"""The sending half of a UART, its line read bit by bit."""

import pytest
from support import rtl

from etchnet.hdl.serial.transmitter import UartTransmitter


def send(data, divisor, *, gap=0):
    """Return the levels of the line, one per cycle, and the cycles in which a byte was accepted."""
    levels, accepted = [], []

    def bench():
        left, wait = list(data), 0
        while left or len(levels) < accepted[-1] + 10 * divisor + 3:
            offered = bool(left) and not wait
            wait = max(0, wait - 1)
            outputs = yield {"bytes.valid": offered, "bytes.payload": left[0] if left else 0}
            levels.append(outputs["tx"])
            if offered and outputs["bytes.ready"]:
                accepted.append(len(levels) - 1)
                left.pop(0)
                wait = gap

    rtl.run(UartTransmitter(divisor), bench())
    return levels, accepted


@pytest.mark.parametrize("divisor", [2, 5, 16])
def test_every_bit_lasts_divisor_cycles(divisor):
    data = bytes([0x00, 0xFF, 0x01, 0x80, 0xA5])
    levels, accepted = send(data, divisor)
    for byte, cycle in zip(data, accepted, strict=True):
        bits = [0, *(byte >> i & 1 for i in range(8)), 1]
        assert levels[cycle + 1 :][: 10 * divisor] == [bit for bit in bits for _ in range(divisor)]
    assert [b - a for a, b in zip(accepted, accepted[1:], strict=False)] == [10 * divisor + 1] * (len(data) - 1)


def test_the_line_is_high_between_bytes():
    levels, accepted = send(b"\0\0", 4, gap=100)
    assert set(levels[: accepted[0] + 1]) == {1}
    assert set(levels[accepted[0] + 1 + 9 * 4 : accepted[1] + 1]) == {1}


def test_the_divisor_has_a_minimum():
    with pytest.raises(ValueError, match="divisor must be at least 2, not 1"):
        UartTransmitter(1)
