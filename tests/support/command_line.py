"""The command line, run in this process."""

from etchnet.host.cli import main as cli


def run(capsys, *arguments):
    """Run a command; returns its exit status, stdout and stderr."""
    status = 0
    try:
        cli.main(list(arguments))
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def error(capsys, *arguments):
    """Run a command that must fail; returns its one line on stderr, without the program's name."""
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), (status, out, err)
    assert err.startswith("etchnet: ")
    return err[len("etchnet: ") : -1]
