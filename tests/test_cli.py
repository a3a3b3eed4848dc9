"""The surface of the command line: names, exit codes, what goes to stdout and what to stderr."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autoseg import cli
from autoseg.core.errors import AutosegError, PartialError, ResourceError
from autoseg.core.stopping import StoppedError

COMMANDS = (
    "plan-and-train", "predict", "evaluate", "compare", "inspect", "fingerprint", "plan", "preprocess", "train",
    "report", "show", "demo",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _restored_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def failing(error):
    def command(*_arguments, **_options):
        raise error

    return command


@pytest.fixture
def raises(monkeypatch):
    """Make every command raise one error."""
    return lambda error: monkeypatch.setattr(cli, "app", failing(error))


def test_help_lists_every_command(capsys):
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr()
    assert all(f" {command} " in shown.out for command in COMMANDS)
    assert shown.err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_talks_alike(command, capsys):
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--json", "--verbose", "-v", "--quiet", "-q"))


@pytest.mark.parametrize(
    "option", ["workspace", "budget", "device", "configurations", "folds", "recipe", "steps", "seed", "force", "json"]
)
def test_plan_and_train_has_the_promised_options(option, capsys):
    cli.run(["plan-and-train", "--help"])
    assert f"--{option}" in capsys.readouterr().out


def test_help_loads_no_torch_no_reader_and_is_quick():
    code = (
        "import sys; from autoseg import cli; cli.run(['--help']); cli.run(['plan-and-train', '--help']);"
        "print(sorted({'torch', 'SimpleITK', 'pydicom', 'nibabel', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_preparing_steps_load_no_torch():
    code = (
        "import sys; from autoseg import groundwork, texts;"
        "found = sorted({'torch', 'batchgenerators', 'pandas'} & set(sys.modules)); print(found); sys.exit(bool(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        (["plan-and-trian", "x"], 'Did you mean "plan-and-train"?'),
        (["plan-and-train", "x", "--bugdet", "3m"], "Did you mean --budget?"),
        (["plan-and-train"], "requires an argument"),
        (["predict", "x"], "requires an argument"),
        (["plan-and-train", "x", "--device", "tpu"], 'Choose from: "auto", "cpu", "cuda", "mps"'),
        (["plan-and-train", "x", "--steps", "many"], "--steps"),
    ],
)
def test_a_slip_of_the_fingers_is_one_line_and_exit_code_2(tokens, line, capsys):
    assert cli.run(tokens) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert line in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


def test_a_dataset_that_is_not_there_is_one_line_with_a_suggestion(tmp_path, capsys):
    (tmp_path / "hippocampus").mkdir()
    assert cli.run(["inspect", str(tmp_path / "hipocampus"), "--workspace", str(tmp_path / "w")]) == 2
    error = capsys.readouterr().err
    assert error.endswith(f"no such folder; did you mean {tmp_path / 'hippocampus'}?\n")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AutosegError.at("a.nii", "broken", "mend it"), 2),
        (PartialError.at("2 of 5 cases", "failed", "see the list"), 3),
        (ResourceError.at("disk", "full", "free some"), 4),
        (MemoryError(), 4),
        (StoppedError(signal.SIGINT), 130),
        (StoppedError(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 70),
    ],
)
def test_each_kind_of_end_has_its_exit_code_and_one_line(error, code, raises, capsys):
    raises(error)
    assert cli.run(["show", "x"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


def test_tracebacks_are_shown_only_when_asked_for(raises, capsys):
    raises(ZeroDivisionError("division by zero"))
    cli.run(["show", "x"])
    assert "run again with -v" in capsys.readouterr().err
    cli.run(["show", "x", "-v"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_quiet_still_tells_errors(raises, capsys):
    raises(AutosegError.at("a.nii", "broken", "mend it"))
    assert cli.run(["show", "x", "-q"]) == 2
    assert capsys.readouterr().err == "error: a.nii: broken; mend it\n"


def test_a_record_is_shown_on_stdout_and_nothing_on_stderr(tmp_path, capsys):
    (tmp_path / "plan.json").write_text('{"schema": "autoseg.plan/1", "recipe": "auto"}')
    assert cli.run(["show", str(tmp_path / "plan.json"), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith('{\n "schema": "autoseg.plan/1"')
    assert shown.err == ""


def test_who_stops_reading_gets_no_traceback(tmp_path):
    (tmp_path / "a.json").write_text("[" + ",".join("1" * 200_000) + "]")
    command = f"{sys.executable} -m autoseg.cli show {tmp_path / 'a.json'} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8", check=False, timeout=60)  # noqa: S602 (a pipe is the point)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_program_with_their_codes(number, code, tmp_path):
    script = tmp_path / "wait.py"
    script.write_text(
        "import sys, time\n"
        "from autoseg import cli\n"
        "def command(*a, **k):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "cli.app = command\n"
        "sys.exit(cli.run(['show', 'x']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in error
