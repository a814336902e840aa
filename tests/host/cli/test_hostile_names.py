"""Names in a model file are text in every output: no page, table or file is broken by them."""

import dataclasses
import html
import json
import re

import numpy as np
import pytest
from support.command_line import run
from support.needs import needs_browser
from support.traced import CONFIG, network

from etchnet.host.importers import load
from etchnet.host.tools.printable import printable

NAMES = ["<!--<script>\"'&", "</script></title>\u2028\u2029", "[/b][red]{{VALUES}}\x1b[2J\n\x00: - #"]
MACHINE = [f"{name}={value}" for name, value in dataclasses.asdict(CONFIG).items() if isinstance(value, int)]
OPTIONS = [part for setting in MACHINE for part in ("--set", setting)]


@pytest.fixture
def hostile(monkeypatch, tmp_path):
    """Save a model that has hostile names when it is loaded; return its path."""
    path = tmp_path / "model.npz"
    network(np.random.default_rng(0)).save(path)
    original = load._loaded
    monkeypatch.setattr(
        load, "_loaded", lambda name: dataclasses.replace(original(name), name="".join(NAMES), names=NAMES)
    )
    return path


def traced(capsys, hostile, name):
    path = hostile.parent / name
    status, _, err = run(capsys, "trace", str(hostile), "-o", str(path), *OPTIONS)
    assert (status, err) == (0, "")
    return path


def test_the_page_of_a_trace_keeps_names_as_text(capsys, hostile):
    text = traced(capsys, hostile, "out.html").read_text()
    described = re.search('<script type="application/json" id="description">(.*?)</script>', text, re.DOTALL)[1]
    assert not set("<\u2028\u2029") & set(described)
    names = [layer["name"] for layer in json.loads(described)["layers"]]
    assert names == [printable(name) for name in NAMES]
    title = re.search("<title>(.*?)</title>", text, re.DOTALL)[1]
    assert html.unescape(title).startswith(printable("".join(NAMES)))


@needs_browser
def test_a_browser_shows_the_page(capsys, hostile):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from support.needs import CHROMIUM, DRIVER

    path = traced(capsys, hostile, "out.html")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        browser.get(path.as_uri())
        name = browser.execute_async_script("etchnet.ready.then(() => arguments[0](etchnet.description.name))")
        shown = browser.execute_script("return document.getElementById('name').textContent")
    finally:
        browser.quit()
    assert name == shown == printable("".join(NAMES))


def test_a_perfetto_trace_keeps_names_as_text(capsys, hostile):
    found = json.loads(traced(capsys, hostile, "out.json").read_text())
    assert found["otherData"]["name"] == printable("".join(NAMES))
    layers = {event["args"].get("layer") for event in found["traceEvents"] if event.get("cat") == "passes"}
    assert layers == {printable(name) for name in NAMES}


@pytest.mark.parametrize(
    "command", [("report", "--passes"), ("state", "--cycle", "20"), ("compare", "--engines", "exact,exact")]
)
def test_terminals_get_only_printable_text(capsys, hostile, command):
    name, *rest = command
    for arguments in ([], ["--json"]):
        status, out, err = run(capsys, name, str(hostile), *rest, *arguments, *OPTIONS)
        assert (status, err) == (0, "")
        assert all(line.isprintable() for line in out.splitlines())
    json.loads(out)


def test_files_of_verilog_do_not_contain_names(capsys, hostile):
    folder = hostile.parent / "out"
    assert run(capsys, "verilog", "--network", str(hostile), "-o", str(folder), *OPTIONS)[0] == 0
    json.loads((folder / "etchnet.json").read_text())
    for path in folder.iterdir():
        assert not any(name in path.read_text() for name in NAMES), path
        assert re.fullmatch(r"[a-z0-9_.]+", path.name)


def test_notebooks_show_names_as_text(hostile):
    shown = load.load_model(str(hostile))._repr_html_()
    assert "<script" not in shown
    assert "&lt;!--&lt;script&gt;" in shown
