"""Time and memory of a command include the processes it starts."""

import sys

from benchmarks.measure import measure

MIB = 1 << 20
HOLD_64_MIB = "import time; x = bytearray(64 << 20); time.sleep(0.6)"


def test_memory_of_a_child_process_is_seen() -> None:
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD_64_MIB!r}])"
    measured = measure([sys.executable, "-c", parent])
    assert measured.exit_code == 0
    assert 64 * MIB < measured.peak_process_bytes < 128 * MIB
    assert measured.peak_total_bytes > measured.peak_process_bytes
    assert 0.6 < measured.seconds < 20


def test_exit_code_of_the_command_comes_back() -> None:
    assert measure([sys.executable, "-c", "raise SystemExit(3)"]).exit_code == 3
