"""The commands that write projects."""

import json

from support.command_line import run

from etchnet.hdl.isa.config import Config
from etchnet.host.flows.processes import TILE

TINY_MEMORIES = [
    f"--set={name}={value}"
    for name, value in TILE.to_dict().items()
    if name.endswith(("_words", "_tiles", "_rows", "passes", "drains")) and name != "weight_rows"
]


def test_the_commands_write_a_project_and_print_the_next_step(capsys, tmp_path):
    for name in ("fusesoc", "librelane", "tinytapeout", "litex"):
        out = tmp_path / name
        status, printed, err = run(
            capsys,
            "flow",
            name,
            "-o",
            str(out),
            "--rows",
            "1",
            "--cols",
            "1",
            *(["--macros"] if name == "librelane" else []),
            *TINY_MEMORIES,
            *(["--tiles", "8x2"] if name == "tinytapeout" else []),
        )
        assert (status, err) == (0, ""), err
        *files, then = printed.splitlines()
        assert then.startswith("next: ")
        assert sorted(line.split(":")[0] for line in files) == sorted(str(p) for p in out.rglob("*") if p.is_file())
    status, printed, _ = run(capsys, "flow", "tinytapeout", "-o", str(out), "--json")
    assert Config.from_dict(json.loads(printed)["config"]) == TILE
