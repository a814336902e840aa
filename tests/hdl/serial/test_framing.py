"""The identity of a board."""

import pytest

from etchnet.hdl.isa import machine_hash
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framing import Identity

SMALL = Config(rows=2, columns=2, passes=16, drains=8)


def test_decode_reads_the_identity_that_encode_wrote():
    identity = Identity.of(SMALL, buffer_bytes=512, clock_hz=12_000_000)
    assert Identity.decode(identity.encode() + b"later versions say more") == identity
    assert (identity.buffer, identity.rows, identity.clock_hz) == (9, 2, 12_000_000)
    assert machine_hash(SMALL) == machine_hash(Config(**SMALL.to_dict()))
    with pytest.raises(ValueError, match="an identity has 13 bytes, not 3"):
        Identity.decode(b"abc")
