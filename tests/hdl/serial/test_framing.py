"""The numbers of the protocol, and the identity of a board."""

import dataclasses

import pytest

from etchnet.hdl.isa import machine_hash
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial import framing
from etchnet.hdl.serial.framing import Identity, Kind

SMALL = Config(rows=3, columns=2, passes=16, drains=8, link_bits=96)


def test_boards_and_hosts_in_use_agree_on_the_numbers():
    """A change of any of them needs another version."""
    numbers = {name: getattr(framing, name) for name in framing.__all__ if name.isupper()}
    assert numbers == {
        "VERSION": 1,
        "FLAG": 0x7E,
        "ESCAPE": 0x7D,
        "FLIP": 0x20,
        "HEADER_BYTES": 3,
        "CHECK_BYTES": 4,
        "UNIT": 8,
        "BUFFER_BYTES": (256, 512, 1024),
        "DEFAULT_BAUD": 1_000_000,
    }
    assert bytes(Kind) == b"HDIARL"


def test_decode_reads_the_identity_that_encode_wrote():
    identity = Identity.of(SMALL, buffer_bytes=512, clock_hz=12_000_000)
    numbers = machine_hash(SMALL).to_bytes(4, "little") + (12_000_000).to_bytes(4, "little")
    assert identity.encode() == bytes([1, 9, 3, 3, 2]) + numbers
    assert Identity.decode(identity.encode()) == identity
    assert Identity.decode(identity.encode() + b"later versions say more") == identity
    assert machine_hash(SMALL) == machine_hash(dataclasses.replace(SMALL))
    with pytest.raises(ValueError, match="an identity has 13 bytes, not 12"):
        Identity.decode(bytes(12))
