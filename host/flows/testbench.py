"""Verilog test bench for any simulator, which compares the machine's link words with recorded ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets.verilog import TOP
from etchnet.host.driver.driver import Accelerator
from etchnet.sim.engines.exact import ExactEngine
from etchnet.sim.engines.link import Engine, LinkTrace

__all__ = ["testbench"]


class _Recorder(Engine):
    """Exact engine that records the words on its link."""

    name = "recorder"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._exact = ExactEngine(config)
        self.sent: list[np.ndarray] = []
        self.received: list[np.ndarray] = []

    @property
    def cycle(self) -> int:
        return self._exact.cycle

    @property
    def record(self) -> LinkTrace:
        return self._exact.record

    def exchange(self, words: np.ndarray, count: int) -> np.ndarray:
        answer = self._exact.exchange(words, count)
        self.sent.append(np.asarray(words))
        self.received.append(answer)
        return answer


def testbench(config: Config) -> str:
    """Return a Verilog test bench that sends the link words of a product and checks every word that is returned.

    The test bench loads and runs a requantised product of random operands and reads the counters. The expected words
    are those of the exact engine. The test bench prints `PASSED`, or prints the first word that differs and ends with a
    non-zero exit status.
    """
    random = np.random.default_rng(0)
    x, w = (
        random.integers(-128, 128, shape).astype(np.int8) for shape in ((3, config.rows), (config.rows, config.columns))
    )
    engine = _Recorder(config)
    Accelerator(config, engine=engine).matmul_relu(x, w, scale=1 / 512, relu=False)
    sent, expected = (_hex(words) for words in (engine.sent, engine.received))

    def assigned(name: str, words: Sequence[str]) -> str:
        return "".join(f"    {name}[{i}] = {config.link_bits}'h{word};\n" for i, word in enumerate(words))

    return f"""\
// Loads a product of two small matrices into the machine, runs it, and compares every word that comes back.
// Generated; do not edit.
module {TOP}_tb;
  localparam BITS = {config.link_bits};
  localparam SENT = {len(sent)};
  localparam EXPECTED = {len(expected)};

  reg clk = 0, rst = 1;
  reg [BITS-1:0] sent [0:SENT-1];
  reg [BITS-1:0] expected [0:EXPECTED-1];
  integer next = 0, got = 0, cycle = 0;
  wire link_in_valid = !rst && next < SENT;
  wire [BITS-1:0] link_in_payload = sent[next < SENT ? next : 0];
  wire link_in_ready, link_out_valid;
  wire [BITS-1:0] link_out_payload;

  {TOP} machine (
    .clk(clk), .rst(rst),
    .link_in_payload(link_in_payload), .link_in_valid(link_in_valid), .link_in_ready(link_in_ready),
    .link_out_payload(link_out_payload), .link_out_valid(link_out_valid), .link_out_ready(1'b1)
  );

  always #5 clk = !clk;

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 3;
    if (link_in_valid && link_in_ready) next <= next + 1;
    if (!rst && link_out_valid) begin
      if (link_out_payload !== expected[got]) begin
        $display("FAILED: word %0d is %h, not %h", got, link_out_payload, expected[got]);
        $fatal(1);
      end
      got <= got + 1;
      if (got == EXPECTED - 1) begin
        $display("PASSED: %0d words, %0d cycles", EXPECTED, cycle);
        $finish;
      end
    end
    if (cycle > 1000000) begin
      $display("FAILED: only %0d of %0d words came back", got, EXPECTED);
      $fatal(1);
    end
  end

  initial begin
{assigned("sent", sent)}{assigned("expected", expected)}  end
endmodule
"""


def _hex(parts: Sequence[np.ndarray]) -> list[str]:
    """Return link words as hexadecimal digits, highest lane first."""
    words = np.concatenate([np.asarray(part, "<u4") for part in parts])
    return ["".join(f"{int(lane):08x}" for lane in word[::-1]) for word in words]
