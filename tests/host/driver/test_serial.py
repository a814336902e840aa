"""The driver on a board at a serial port: pyserial, a pseudo-terminal, and the generated Verilog at its other end."""

import builtins
import contextlib
import dataclasses
import errno
import functools
import json
import os
import re
import socket
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.needs import needs_verilator
from support.serial_line import Faults, MemoryPort, Terminal
from support.strategies import int8
from support.uart_board import VerilatedBoard

from etchnet.hdl.isa import Counter
from etchnet.hdl.isa.config import Config
from etchnet.hdl.serial.framing import Identity, Kind
from etchnet.host.cli import main as cli
from etchnet.host.driver.driver import Accelerator
from etchnet.host.driver.engines import make_engine
from etchnet.host.driver.frames import Deframer, Frame
from etchnet.host.driver.port import parse_port
from etchnet.host.driver.serial import SerialEngine
from etchnet.host.network.layers import Dense
from etchnet.host.network.network import Network
from etchnet.sim.engines.link import LinkError, LinkTrace
from etchnet.sim.engines.verilated import MissingToolError

serial = pytest.importorskip("serial", reason="no pyserial")
pytestmark = pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")

CONFIG = Config(
    rows=3,
    columns=2,
    weight_tiles=32,
    activation_words=32,
    input_words=16,
    output_words=16,
    accumulator_rows=8,
    passes=32,
    drains=16,
    parameter_tiles=8,
)
WAITS = {Counter.WAIT_IN, Counter.WAIT_OUT, Counter.CYCLES}

boards = functools.partial(VerilatedBoard, CONFIG)


def work(accelerator, seed=0):
    """Return results of products in several programs and of a network in several batches, and counters except waits."""
    random = np.random.default_rng(seed)
    x, w = int8(random, (5, 9)), int8(random, (9, 4))
    results = [accelerator.matmul(x, w), accelerator.matmul_relu(x, w, bias=100, scale=1 / 300)]
    accelerator.load(network(), batch=2)
    results.append(accelerator.run(int8(random, (7, 6))))
    counts = {c: n for c, n in accelerator.counts.totals.items() if c not in WAITS}
    waits = accelerator.counts[Counter.WAIT_IN] + accelerator.counts[Counter.WAIT_OUT]
    return [r.tolist() for r in results], counts, accelerator.counts.cycles - waits


def network():
    random = np.random.default_rng(5)
    return Network(
        [
            Dense.from_scale(
                int8(random, (6, 5)), random.integers(-9000, 9000, 5), scale=0.004, zero_point=-128, low=-128
            ),
            Dense.from_scale(int8(random, (5, 3)), scale=0.01, input_zero_point=-128, zero_point=3),
        ]
    )


@functools.cache
def expected(seed=0):
    return work(Accelerator(CONFIG), seed)


def memory_engine(board, **options):
    line = {name: options.pop(name) for name in ("to_board", "to_host", "late", "seed") if name in options}
    return SerialEngine(CONFIG, port=MemoryPort(board, **line), baud=10**7, **({"latency": 0.003} | options))


# Results


@needs_verilator
@pytest.mark.parametrize("bit", [1, 0.98, 1.02])
def test_a_board_on_a_terminal_gives_what_the_exact_engine_gives(bit):
    """The line runs at the rate of the board, and 2 % above and below it."""
    board = boards(bit=bit)
    with Terminal(board) as terminal:
        engine = make_engine(f"serial:{terminal.name}?latency=2", CONFIG)
        assert work(Accelerator(engine=engine)) == expected()
        assert (engine.retried, board.broken) == (0, 0)
        assert engine.clock_hz == engine.identity.clock_hz == 8_000_000
        assert board.activity
        engine.close()
        engine.close()


@needs_verilator
@pytest.mark.parametrize("seed", range(4))
def test_a_bad_line_makes_results_slow_but_never_wrong(seed):
    faults = [Faults((0.002, 0.005, 0.01)[seed % 3], seed=(seed, way)) for way in range(2)]
    with Terminal(boards(), to_board=faults[0], to_host=faults[1]) as terminal:
        engine = SerialEngine(CONFIG, port=terminal.name, latency=0.02, retries=100)
        assert work(Accelerator(engine=engine), seed) == expected(seed)
        assert faults[0].happened + faults[1].happened
        engine.close()


@needs_verilator
@pytest.mark.parametrize("kind", ["drop", "flip", "insert", "repeat", "burst", "silence"])
def test_each_kind_of_fault_alone(kind):
    faults = [Faults(0.004, seed=way, kinds=(kind,)) for way in range(2)]
    engine = memory_engine(boards(), to_board=faults[0], to_host=faults[1], retries=100)
    assert work(Accelerator(engine=engine)) == expected()
    assert engine.retried


@needs_verilator
@pytest.mark.campaign
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.0002, 0.001, 0.004, 0.01, 0.02]),
    st.sampled_from([0, 0.05, 0.2]),
    st.floats(0.98, 1.02),
)
def test_campaign_of_bad_lines(seed, rate, late, bit):
    faults = [Faults(rate, seed=(seed, way)) for way in range(2)]
    # Giving up is a valid outcome too.
    with contextlib.suppress(LinkError):
        engine = memory_engine(boards(bit=bit), to_board=faults[0], to_host=faults[1], seed=seed, late=late, retries=60)
        assert work(Accelerator(engine=engine), seed % 5) == expected(seed % 5)


@needs_verilator
def test_what_comes_before_the_first_frame_is_ignored():
    banner, board = iter([b"\x00boot v1.2\r\n~~ready~\r\n"]), boards()

    def step(data):
        return next(banner, b"") + board(data)

    with Terminal(step) as terminal:
        engine = SerialEngine(CONFIG, port=terminal.name, latency=1)
        assert work(Accelerator(engine=engine)) == expected()
        engine.close()


# Hosts and boards that disappear


@needs_verilator
def test_a_board_can_be_used_after_a_host_that_died_anywhere():
    class DiedError(Exception):
        pass

    class Dying(MemoryPort):
        def write(self, data):
            if self.written + len(data) > self.last:
                super().write(data[: self.last - self.written])
                raise DiedError
            return super().write(data)

    board = boards()
    whole = MemoryPort(board)
    work(Accelerator(engine=SerialEngine(CONFIG, port=whole, baud=10**7)))
    for last in np.linspace(5, whole.written - 5, 12).astype(int):
        port = Dying(board)
        port.last = last
        with pytest.raises(DiedError):
            work(Accelerator(engine=SerialEngine(CONFIG, port=port, baud=10**7)))
        # Bytes that the old session left on the line and in the machine.
        engine = memory_engine(board)
        counters = Accelerator(engine=engine)._read_counters()
        assert set(counters.totals.values()) == {0}, "the machine was not reset"
        assert work(Accelerator(engine=engine)) == expected()


@needs_verilator
def test_a_board_that_is_reset_or_taken_by_another_program_is_noticed():
    board = boards()
    engine = memory_engine(board)
    accelerator = Accelerator(engine=engine)
    accelerator.matmul(np.ones((1, 2), np.int8), np.ones((2, 1), np.int8))
    board.reset()
    with pytest.raises(LinkError, match="the board on memory has lost this session: it was reset, or another program"):
        accelerator.matmul(np.ones((1, 2), np.int8), np.ones((2, 1), np.int8))
    first, second = memory_engine(board), memory_engine(board)
    first._sequence = (second._sequence + 100) % 256
    with pytest.raises(LinkError, match="another program"):
        work(Accelerator(engine=first))
    assert work(Accelerator(engine=second)) == expected()


@needs_verilator
def test_another_machine_is_refused():
    other = Config(**CONFIG.to_dict() | {"passes": 64})
    machines = [
        f"3 x 2 array, 32-bit links, machine {Identity.of(c, buffer_bytes=256, clock_hz=1).machine:08x}"
        for c in (CONFIG, other)
    ]
    with pytest.raises(LinkError, match=re.escape(f"has another machine: {machines[0]}, not {machines[1]}")):
        SerialEngine(other, port=MemoryPort(boards()))


def answering(body=b"", **changes):
    """Return a board that reports its identity, with changes, or `body`; its machine answers nothing."""
    body = body or dataclasses.replace(Identity.of(CONFIG, buffer_bytes=256, clock_hz=1), **changes).encode()
    deframer = Deframer()

    def answer(frame):
        if frame.kind == Kind.HELLO:
            return Frame(Kind.IDENTITY, frame.sequence, 32, body)
        return Frame(Kind.ACCEPTED, frame.sequence, 32)

    return lambda data: b"".join(answer(frame).encode() for frame in deframer.feed(data))


def test_other_protocols_are_refused():
    with pytest.raises(LinkError, match="the board on memory uses version 2 of the protocol, this program 1"):
        SerialEngine(CONFIG, port=MemoryPort(answering(version=2)))
    with pytest.raises(LinkError, match="does not report a valid identity: an identity has 13 bytes, not 2"):
        SerialEngine(CONFIG, port=MemoryPort(answering(b"ab")))


# Errors


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda data: b"", "no board answers on memory at 1,000,000 baud; nothing came back: is the board on"),
        (lambda data: b"hello\r\n", "bytes came back that are not an answer: is this the port of the board?"),
        (lambda data: b"\x7e1234567890\x7e", "and no valid answer: does the board use another baud rate?"),
        (lambda data: data, "memory echoes what is sent to it: are rx and tx connected?"),
    ],
)
def test_no_answer_and_invalid_answers_are_distinguished(step, message):
    with pytest.raises(LinkError, match=re.escape(message)):
        SerialEngine(CONFIG, port=MemoryPort(step), latency=0.001, retries=3)


@needs_verilator
def test_a_line_that_gets_too_bad_is_an_error():
    faults = Faults(0.0)
    engine = memory_engine(boards(), to_host=faults, retries=5)
    accelerator = Accelerator(engine=engine)
    faults.rate = 0.9
    with pytest.raises(LinkError, match=r"no valid answer on memory after sending a frame 6 times \(\d+ bytes came ba"):
        work(accelerator)


def test_a_machine_that_sends_nothing_is_an_error():
    engine = SerialEngine(CONFIG, port=MemoryPort(answering()), patience=0.05)
    message = "nothing moved for 0.05 seconds: 3 of 3 words have not come back, 0 have not been sent"
    with pytest.raises(LinkError, match=message):
        engine.exchange(np.zeros((2, 1), np.uint32), 3)


def test_cycle_and_record_are_not_available():
    engine = SerialEngine(CONFIG, port=MemoryPort(answering()))
    for name in ("cycle", "record"):
        with pytest.raises(LinkError, match="a board"):
            getattr(engine, name)
    with pytest.raises(ValueError, match="engine serial takes no trace"):
        SerialEngine(CONFIG, port=MemoryPort(answering()), trace=LinkTrace())


def test_ports_that_cannot_be_opened(monkeypatch, tmp_path):
    missing = str(tmp_path / "tty")
    with pytest.raises(LinkError, match=re.escape(f"there is no serial port {missing}; ports found: ")):
        make_engine(f"serial:{missing}", CONFIG)
    for number, message in (
        (errno.EACCES, "no permission to open serial port X: on Linux, join the group that owns it, often dialout"),
        (errno.EAGAIN, "serial port X is in use by another program"),
        (errno.EIO, "cannot open serial port X: [Errno 5] it broke"),
    ):

        def fail(*_, number=number, **__):
            raise serial.SerialException(number, "it broke")

        monkeypatch.setattr(serial, "serial_for_url", fail)
        with pytest.raises(LinkError, match=re.escape(message)):
            make_engine("serial:X", CONFIG)


def test_a_port_is_opened_once():
    with Terminal(answering()) as terminal:
        first = SerialEngine(CONFIG, port=terminal.name)
        with pytest.raises(LinkError, match=f"serial port {terminal.name} is in use by another program"):
            SerialEngine(CONFIG, port=terminal.name)
        first.close()


def test_a_board_over_the_network():
    """A port may be any URL that pyserial opens, such as that of a server that forwards a port."""
    board = answering()

    def serve(server):
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(4096):
                connection.sendall(board(data))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        engine = make_engine(f"serial:socket://127.0.0.1:{server.getsockname()[1]}?latency=2", CONFIG)
        assert engine.identity.rows == CONFIG.rows
        engine.close()
        thread.join()
    with pytest.raises(LinkError, match=r"the engine on socket:.* is closed"):
        engine.exchange(np.zeros((1, 1), np.uint32), 0)


def test_a_port_that_goes_away_is_an_error():
    class Unplugged(MemoryPort):
        def read(self, size=1):
            raise serial.SerialException("device disconnected")

    with pytest.raises(LinkError, match="the serial port memory no longer works: device disconnected"):
        SerialEngine(CONFIG, port=Unplugged(answering()))


def test_without_pyserial(monkeypatch):
    imported = builtins.__import__

    def fail(name, *arguments):
        if name == "serial":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(MissingToolError, match=re.escape("pip install 'etchnet[serial]'")):
        make_engine("serial:/dev/ttyUSB0", CONFIG)


def test_ports_with_options():
    assert parse_port("/dev/ttyUSB0") == ("/dev/ttyUSB0", {})
    assert parse_port("COM3?baud=3000000&latency=0.5&retries=3&patience=60") == (
        "COM3",
        {"baud": 3_000_000, "latency": 0.5, "retries": 3, "patience": 60},
    )
    for text, message in (
        ("", "engine serial needs a port, such as serial:/dev/ttyUSB0"),
        ("X?speed=3", "engine serial has the options baud, latency, patience, retries, not 'speed'"),
        ("X?baud=fast", "baud must be a number, not 'fast'"),
        ("X?baud=0", "baud must be positive, not 0"),
        ("X?latency=nan", "latency must be positive, not nan"),
        ("X?retries=-1", "retries must not be negative, not -1"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            parse_port(text)


# The command line


@needs_verilator
def test_run_reports_a_board_as_it_reports_a_simulator(tmp_path):
    path, inputs = tmp_path / "network.npz", tmp_path / "x.npy"
    network().save(path)
    x = int8(np.random.default_rng(8), (2, 6))
    np.save(inputs, x)
    machine = [word for name, value in CONFIG.to_dict().items() for word in ("--set", f"{name}={value}")]
    results, texts = [], []
    with Terminal(boards()) as terminal:
        for engine in ("amaranth", f"serial:{terminal.name}?latency=2"):
            output = tmp_path / "y.npy"
            arguments = ["run", str(path), *machine, "--input", str(inputs), "--batch", "2", "--engine", engine]
            done = CliRunner().invoke(cli.cli, [*arguments, "--output", str(output), "--json"], catch_exceptions=False)
            results.append(json.loads(done.stdout))
            assert np.array_equal(np.load(output), network().reference(x))
            done = CliRunner().invoke(cli.cli, [*arguments, "--clock", "8"], catch_exceptions=False)
            texts.append(done.stdout.replace(engine, "ENGINE"))
    simulated, real = results
    assert real.pop("engine").startswith("serial:/dev/")
    assert simulated.pop("engine") == "amaranth"
    assert simulated.pop("simulation_seconds") > 0
    assert real.pop("seconds") > 0
    assert (simulated.pop("clock_hz"), real.pop("clock_hz")) == (100e6, 8e6)  # the board knows its own
    speeds = simulated.pop("inferences_per_second"), real.pop("inferences_per_second")
    assert speeds[0] / speeds[1] == pytest.approx(100 / 8)
    assert simulated == real
    assert texts[0].replace("(simulated)", "(counted on the board)") == texts[1]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("serial:", "Invalid value for '--engine': engine serial needs a port, such as serial:/dev/ttyUSB0"),
        ("serial:X?baud=x", "Invalid value for '--engine': baud must be a number, not 'x'"),
        (
            "serial",
            "Invalid value for '--engine': 'serial' is not one of 'exact', 'amaranth', 'verilator', 'serial:PORT'.",
        ),
        ("serial:/no/such", "there is no serial port /no/such; ports found:"),
    ],
)
def test_bad_engines_on_the_command_line(engine, message, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((1, 784), np.int8))
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "demo", "--input", str(tmp_path / "x.npy"), "--engine", engine])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"etchnet: {message}")
    assert err.count("\n") == 1
