"""Every attack of the corpus ends in one clear line: nothing is executed, nothing outside is touched, nothing hangs."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.text import cell, printable
from autoseg.talking import TALK, tell
from tests.hostile.corpus import HARMLESS, corpus

CORPUS = corpus()
MOST_SECONDS = 20
_EXECUTING = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pty.spawn")


class _Watch:
    """Sees what the interpreter is about to do (PEP 578) while it is awake."""

    awake = False
    seen: tuple[str, ...] = ()

    def __call__(self, event: str, _arguments: tuple[object, ...]) -> None:
        if self.awake and event in _EXECUTING:
            self.seen = (*self.seen, event)


WATCH = _Watch()
sys.addaudithook(WATCH)


@pytest.fixture
def watched() -> Iterator[None]:
    def late(_number: int, _frame: object) -> None:
        pytest.fail(f"took more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    WATCH.awake, WATCH.seen = True, ()
    yield
    WATCH.awake = False
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 200
    assert set(CORPUS) >= HARMLESS


def test_the_watch_sees_a_process_start(watched):
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert WATCH.seen


def by_cost(name: str) -> object:
    """Mark what takes long, and the pickles, which tests/core reads every time."""
    slow = name.startswith(("pickle", "checkpoint", "nnU-Net", "image: gzip"))
    return pytest.param(name, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("name", [by_cost(each) for each in CORPUS])
@pytest.mark.usefixtures("watched")
def test_it_does_nothing(name, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    if name in HARMLESS:
        CORPUS[name](tmp_path / "place")
    else:
        with pytest.raises(AutosegError) as caught:
            CORPUS[name](tmp_path / "place")
        assert "\n" not in str(caught.value).rstrip("\n")
    assert WATCH.seen == ()
    assert {path.name for path in tmp_path.iterdir()} == {"cwd", "place"}
    assert not list((tmp_path / "cwd").iterdir())
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("executed")]
    assert not Path("/etc/executed").exists()


# ------------------------------------------------------------------------------------- names that are shown again
NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "<!--",
    "]]><a href=javascript:alert(1)>",
    "&lt;script&gt;",
    "=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\x1b[2J\x1b]0;title\x07",
    "a\x9b31mb",
    "liver\u202egnp.exe",
    "{{7*7}} ${7*7} %s %(a)s",
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))


def tags(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.tags


@pytest.mark.parametrize("name", NAMES)
def test_a_name_makes_no_element_of_the_page(name):
    from autoseg.reporting import markup

    def page(text: str) -> str:
        parts = [
            markup.paragraph(text, text),
            markup.sentence(text, text),
            markup.section(text, text, "x"),
            markup.table([text, text], [[text, text]], sortable=True),
            markup.folded(text, "x"),
            markup.figure("", text),
            markup.tiles([(text, text)]),
        ]
        return markup.page(text, markup.paragraph(text), [(text, "".join(parts))])

    assert tags(page(name)) == tags(page("l" * len(name)))  # cells of long text keep a width: compared at equal length


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_and_moves_no_cursor(name, capsys):
    assert not cell(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    for text in (cell(name), printable(name)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    tell(TALK, None, name)
    assert "\x1b" not in capsys.readouterr().out
