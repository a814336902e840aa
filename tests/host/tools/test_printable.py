"""Text from files cannot control a terminal."""

import pytest

from etchnet.host.tools.printable import printable


@pytest.mark.parametrize("text", ["conv 1", "Größe/µ", "日本", "<!--<script>", "[/b]"])
def test_printable_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", r"\x1b[2J"), ("a\nb\r", r"a\nb\r"), ("\u2028", r"\u2028"), ("\x00", r"\x00"), ("\ud800", r"\ud800")],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text).isprintable()
