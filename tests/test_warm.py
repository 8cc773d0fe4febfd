"""Notebooks that start warm: in processes forked from one that has imported their libraries."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, WARM


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the server of all tests, or of one of its own where a single test file is run."""
    if given := os.environ.get("LAYERWISE_WARM"):
        yield Path(given)
        return
    address = tmp_path_factory.mktemp("server") / "socket"
    process = subprocess.Popen(
        [sys.executable, WARM, "serve"], stdin=subprocess.PIPE, env=ENVIRONMENT | {"LAYERWISE_WARM": str(address)}
    )
    while not address.exists():
        time.sleep(0.1)
    yield address
    process.stdin.close()
    assert process.wait(timeout=60) == 0 and not address.parent.exists()


def run_warm(address: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    settings = ENVIRONMENT | environment | {"LAYERWISE_WARM": str(address)}
    return subprocess.run(
        [sys.executable, WARM, *words], cwd=folder, env=settings, capture_output=True, text=True, timeout=120
    )


def test_a_module_runs_warm_as_it_does_cold_with_folder_arguments_environment_threads_and_status(server, tmp_path):
    (tmp_path / "probe.py").write_text(
        "import json, os, sys, torch\n"
        "print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['WORD'], torch.get_num_threads(), __name__]))\n"
        "import beside\n"
        "print('to the other stream', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "beside.py").write_text("print('found')")
    options = {"WORD": "here", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "library")}
    warm, cold = (
        run_warm(address, tmp_path, "-m", "probe", "a b", "c", **options) for address in (server, tmp_path / "none")
    )
    assert json.loads(warm.stdout.splitlines()[0]) == [["a b", "c"], str(tmp_path), "here", 1, "__main__"]
    assert (warm.stdout, warm.stderr, warm.returncode) == (cold.stdout, cold.stderr, cold.returncode)
    assert warm.returncode == 7 and warm.stderr == "to the other stream\n"


def test_libraries_are_there_before_a_module_starts_and_the_project_s_own_code_is_not(server, tmp_path):
    (tmp_path / "probe.py").write_text("import sys; print('torch' in sys.modules, 'layerwise' in sys.modules)")
    assert run_warm(server, tmp_path, "-m", "probe").stdout == "True False\n"
    assert run_warm(tmp_path / "none", tmp_path, "-m", "probe").stdout == "False False\n"


def test_the_error_of_a_module_is_the_last_line_and_its_status_is_not_zero(server, tmp_path):
    (tmp_path / "probe.py").write_text("raise ValueError('give another number')")
    failed = run_warm(server, tmp_path, "-m", "probe")
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1] == "ValueError: give another number"


def test_a_module_starts_cold_where_the_server_ends_before_it_answers(tmp_path):
    (tmp_path / "probe.py").write_text("print('started')")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    ending = threading.Thread(target=lambda: listening.accept()[0].close())
    ending.start()
    assert run_warm(tmp_path / "socket", tmp_path, "-m", "probe").stdout == "started\n"
    ending.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_the_process_that_asked_ends_the_one_that_runs_and_what_that_started(server, tmp_path, number):
    (tmp_path / "probe.py").write_text(
        "import os, subprocess\n"
        "started = subprocess.Popen(['sleep', '600'])\n"
        "print(os.getpid(), started.pid, flush=True)\n"
        "started.wait()\n"
    )
    environment = ENVIRONMENT | {"LAYERWISE_WARM": str(server)}
    asking = subprocess.Popen(
        [sys.executable, WARM, "-m", "probe"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    running = [Path(f"/proc/{process}") for process in asking.stdout.readline().split()]
    asking.send_signal(number)
    asking.wait(timeout=20)
    if number == signal.SIGTERM:  # which goes to one process, as if it ran by itself
        running = running[:1]
    deadline = time.monotonic() + 20
    while any(each.exists() for each in running) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(each.exists() for each in running)


def test_a_notebook_executed_warm_is_that_executed_cold(server, tmp_path):
    cells = ["import matplotlib.pyplot as plt\nprint('drawn')", "plt.plot([1, 2], [3, 4]);", "{'a': 1}"]
    notebook = {
        "cells": [
            {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}
            for i, cell in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (tmp_path / "in.ipynb").write_text(json.dumps(notebook))
    outputs = []
    for name, address, kernel in (("warm", server, "warm"), ("cold", tmp_path / "none", "python3")):
        words = ["-m", "papermill", "in.ipynb", f"{name}.ipynb", "--kernel", kernel, "--no-progress-bar"]
        done = run_warm(address, tmp_path, *words, JUPYTER_PATH=str(ROOT / "book"))
        assert done.returncode == 0 and "--existing" not in done.stdout + done.stderr, done.stderr
        executed = json.loads((tmp_path / f"{name}.ipynb").read_text())
        outputs.append([cell["outputs"] for cell in executed["cells"]])
    assert outputs[0] == outputs[1] and "image/png" in outputs[0][1][0]["data"]
