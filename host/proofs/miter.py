"""Two copies of a machine side by side in Verilog, and their transition relation in SMT-LIB, made by Yosys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from etchnet.hdl.core.machine import Machine
from etchnet.hdl.isa import Counter, Header, Target, chunks, word_bits
from etchnet.hdl.isa.config import Config
from etchnet.hdl.targets import verilog
from etchnet.hdl.targets.files import write_text
from etchnet.host.tools.yosys import run_yosys

__all__ = ["PROPERTIES", "smt_model"]

# Listed here again on purpose: this check shares nothing with the others, not even what data are.
_DATA = (Target.PARAMETERS, Target.WEIGHTS, Target.INPUT)

_COPIES = """\
// Two copies of a machine, `a` and `b`. Both get the same reset, handshakes and packets, except that `b` gets `other`
// instead of `common` in the cycles in which the link carries a data word.
module copies(input clk, input rst, input valid, input ready, input [{bits}:0] common, input [{bits}:0] other,
    output is_data, output taken, output differ, output answer{same_ports});
  wire a_ready, b_ready, a_valid, b_valid;
  wire [{bits}:0] a_out, b_out;
  wire [{status_bits}:0] a_status, b_status;
  {top} a(.clk(clk), .rst(rst), .link_in_payload(common), .link_in_valid(valid), .link_in_ready(a_ready),
    .link_out_payload(a_out), .link_out_valid(a_valid), .link_out_ready(ready), .status(a_status));
  {top} b(.clk(clk), .rst(rst), .link_in_payload(is_data ? other : common), .link_in_valid(valid),
    .link_in_ready(b_ready), .link_out_payload(b_out), .link_out_valid(b_valid), .link_out_ready(ready),
    .status(b_status));

  // The parser of packets: a header, a count of memory words, and that many memory words, each of `size` link words.
  localparam HEADER = 0, COUNT = 1, WORDS = 2;
  reg [1:0] state;
  reg [{target_bits}:0] target;
  reg [31:0] left;
  reg [{chunk_bits}:0] chunk;
  wire last_chunk = {last_chunk};
  assign taken = valid & a_ready;
  assign is_data = state == WORDS && ({is_data_target});
  always @(posedge clk)
    if (rst) state <= HEADER;
    else if (taken) case (state)
      HEADER: begin target <= common[{target_slice}]; state <= COUNT; end
      COUNT: begin
        left <= common[31:0]; chunk <= 0;
        state <= target == {counters} || common[31:0] == 0 ? HEADER : WORDS;
      end
      default: begin
        chunk <= last_chunk ? 0 : chunk + 1;
        left <= left - last_chunk;
        state <= last_chunk && left == 1 ? HEADER : WORDS;
      end
    endcase

  assign answer = a_status[{answer}] & a_valid & ready;
  assign differ = a_valid & b_valid & (a_out != b_out);
  // While the link carries counters, the words must be equal; what results it carries is no matter of time.
  assign same_counters_sent = (a_status[{answer}] ? a_out : 0) == (b_status[{answer}] ? b_out : 0);
  assign same_link_in_ready = a_ready == b_ready;
  assign same_link_out_valid = a_valid == b_valid;
{same_status}
endmodule
"""

_PROVED = """\
module proved(input clk, input rst, input valid, input ready, input [{bits}:0] common, input [{bits}:0] other{ports});
  copies c(.clk(clk), .rst(rst), .valid(valid), .ready(ready), .common(common), .other(other){connections});
endmodule
"""
"""Only what the statement is about leaves this module, so that Yosys removes everything that cannot influence it."""

_PLAYED = """\
// The two copies with fixed packets, of which only the data words are free: `common` and `other`.
module played(input clk, input rst, input [{bits}:0] common, input [{bits}:0] other,
    output differ, output reg answered{ports});
  reg [{place_bits}:0] place;
  reg [31:0] cycle;
  reg [7:0] answers;
  reg [{bits}:0] word;
  wire is_data, taken, answer;
  always @* case (place)
{words}
    default: word = 0;
  endcase
  copies c(.clk(clk), .rst(rst), .valid(place < {count}), .ready(cycle[1:0] != 3),
    .common(is_data ? common : word), .other(other), .is_data(is_data), .taken(taken), .differ(differ),
    .answer(answer){connections});
  always @(posedge clk) begin
    place <= place + taken;
    cycle <= cycle + 1;
    answers <= answers + answer;
    answered <= answers == {answers};
    if (rst) begin place <= 0; cycle <= 0; answers <= 0; answered <= 0; end
  end
endmodule
"""


PROPERTIES = {
    "same_link_in_ready": "link_in.ready",
    "same_link_out_valid": "link_out.valid",
    "same_counters_sent": "counters on link_out.payload",
    **{f"same_status_{name}": f"status.{name}" for name, _ in Machine.status_layout()},
}
"""what must be the same in both copies, by the name of the output that says whether it is"""


def _copies(config: Config, top: str) -> str:
    """Return the module with both copies; the format of packets is that of the manifest of a generated machine."""
    layout = Machine.status_layout()
    same_status = "".join(
        f"  assign same_status_{name} = a_status[{f.offset} +: {f.width}] == b_status[{f.offset} +: {f.width}];\n"
        for name, f in layout
    )
    header, sizes = Header.layout(config)["target"], {t: chunks(word_bits(t, config), config) for t in Target}
    return _COPIES.format(
        top=top,
        bits=config.link_bits - 1,
        status_bits=layout.size - 1,
        answer=layout["answer"].offset,
        same_ports="".join(f", output {name}" for name in PROPERTIES),
        same_status=same_status.rstrip("\n"),
        target_bits=header.width - 1,
        target_slice=f"{header.offset + header.width - 1}:{header.offset}",
        chunk_bits=config.address_bits(max(sizes.values())) - 1,
        last_chunk=" : ".join(f"target == {t:d} ? chunk == {size - 1}" for t, size in sizes.items()) + " : chunk == 0",
        is_data_target=" || ".join(f"target == {t:d}" for t in _DATA),
        counters=f"{Target.COUNTERS:d}",
    )


def _around(template: str, config: Config, **values: object) -> str:
    """Return a module that contains the copies, with their properties as outputs of its own."""
    return template.format(
        bits=config.link_bits - 1,
        ports="".join(f", output {name}" for name in PROPERTIES),
        connections="".join(f", .{name}({name})" for name in PROPERTIES),
        **values,
    )


def _played(config: Config, words: Sequence[int]) -> str:
    """Return the module that plays `words` to the two copies."""
    place_bits = len(words).bit_length()
    return _around(
        _PLAYED,
        config,
        place_bits=place_bits - 1,
        count=len(words),
        words="\n".join(f"    {i}: word = {config.link_bits}'d{word};" for i, word in enumerate(words)),
        answers=2 * len(Counter),
    )


def smt_model(
    config: Config,
    folder: Path,
    *,
    machine: type[Machine] = Machine,
    init: Mapping[Target, Sequence[int]] | None = None,
    words: Sequence[int] | None = None,
) -> str:
    """Return two copies of a machine as SMT-LIB, with states as bit vectors, as Yosys's `write_smt2 -stbv` makes it.

    Memories have arbitrary contents at first, registers too; a clock cycle is a transition. The module is `proved`,
    whose inputs are all free, or with `words` `played`, to whose copies these link words are sent.

    Parameters
    ----------
    config
        The machine.
    folder
        An empty folder for Verilog, scripts and logs.
    machine
        The class of the machine.
    init
        Initial contents of its memories.
    words
        Link words for the incoming link, in order.

    Raises
    ------
    MissingPackageError
        Yosys is not installed.
    SynthesisError
        Yosys failed.
    """
    design = verilog.generate(config, init=init, wrapper=lambda whole: whole, machine=machine)
    design.write(folder)
    top = "proved" if words is None else "played"
    around = _around(_PROVED, config) if words is None else _played(config, words)
    write_text(folder / "copies.v", _copies(config, design.top) + "\n" + around)
    script = f"""\
read_verilog -sv -DSYNTHESIS etchnet.v copies.v
prep -flatten -nordff -top {top}
memory_map
opt -full
opt_clean
async2sync
dffunmap
opt_clean
write_smt2 -stbv -wires {top}.smt2
"""
    run_yosys(script, folder=folder, extra="prove")
    return (folder / f"{top}.smt2").read_text()
