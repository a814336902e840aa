"""Help states the defaults that commands have, and shells complete what commands accept."""

import os
import re
import subprocess
import sys

import click
import pytest
from support.command_line import run

from etchnet.hdl.isa.config import Config
from etchnet.host.cli import main
from etchnet.host.flows.processes import TILE

DEFAULT, SMALL = Config(), TILE


@pytest.mark.parametrize(
    ("command", "config"), [(("run",), DEFAULT), (("flow", "fusesoc"), DEFAULT), (("flow", "tinytapeout"), SMALL)]
)
def test_help_states_the_parameters_of_the_default_machine(capsys, command, config):
    text = " ".join(run(capsys, *command, "--help")[1].split())
    for option, value in (
        ("--rows", config.rows),
        ("--columns", config.columns),
        ("--weight-rows", config.weight_rows),
    ):
        assert re.search(rf"{option} INTEGER [^\[]*\[{value}\]", text), option
    requantisers = "columns" if config == DEFAULT else config.requantisers
    assert re.search(rf"--requantisers INTEGER [^\[]*\[{requantisers}\]", text)


def commands(group=main.cli, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_options_of_several_names_say_what_they_take():
    """TEXT says nothing: an option is a choice, or names what it takes."""
    for path, command in commands():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                assert parameter.make_metavar(click.Context(command)) != "TEXT", (path, parameter.opts)


def test_options_have_one_order():
    """The options of the machine come last but for --json, in the same order everywhere; --clock is before them."""
    order = ["clock", "rows", "cols", "weight_rows", "requantisers", "settings", "config", "as_json"]
    for path, command in commands():
        names = [parameter.name for parameter in command.params]
        if "rows" in names and path not in {("build",), ("size",)} and path[0] != "flow":
            last = [name for name in order if name in names]
            assert names[-len(last) :] == last, path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("etchnet tr", "trace"),
        ("etchnet report demo --dump-after sch", "schedule"),
        ("etchnet build --board ice", "icebreaker"),
    ],
)
def test_a_shell_completes(words, expected):
    environment = os.environ | {
        "_ETCHNET_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    command = [sys.executable, "-c", "from etchnet.host.cli.entry import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"plain,{expected}\n"
