"""Python modules run as by `python -m`, in processes that start with the libraries of the notebooks in memory.

    python book/warm.py serve [MODULE ...]         imports the libraries once, and forks a process for each request
    python book/warm.py -m papermill IN.ipynb ...  asks for one, and behaves as if it were that process

Each part of a stage is a process of papermill and a kernel, and a short one spends most of its time importing what the
last one imported. The server listens on the socket that LAYERWISE_WARM names, and ends with its standard input, so
with the workflow that started it. Where none listens, a module starts as it always does.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

# What several notebooks import; of transformers also what it imports at first use.
LIBRARIES = (
    *("papermill.cli", "ipykernel.ipkernel", "threadpoolctl"),
    *("seaborn", "scipy.stats", "pandas.io.formats.style", "tabulate", "yaml", "joblib", "shap", "grimp", "datasets"),
    *("sklearn.linear_model", "sklearn.feature_extraction.text", "torch.utils.flop_counter", "accelerate"),
    *("transformers.trainer", "transformers.models.bert.modeling_bert"),
    "transformers.models.roberta_prelayernorm.modeling_roberta_prelayernorm",
)


def main() -> None:
    if sys.argv[1] == "serve":
        serve(os.environ["LAYERWISE_WARM"], [*LIBRARIES, *sys.argv[2:]])
    else:
        request(sys.argv[1:])


def request(arguments: list[str]) -> None:
    """Run `python ARGUMENTS` in a forked process, with the streams, folder and environment of this one."""
    connection = socket.socket(socket.AF_UNIX)
    asked = json.dumps({"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    try:
        connection.connect(os.environ["LAYERWISE_WARM"])
        socket.send_fds(connection, [len(asked).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(asked)
        answer = connection.recv(8)
    except (KeyError, OSError):
        answer = b""
    if not answer:  # there is no server, or it ended, as where a library does not import
        os.execv(sys.executable, [sys.executable, *arguments])
    process = int.from_bytes(answer, "big")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(process, received))
    status = connection.recv(1)
    sys.exit(status[0] if status else 1)


def serve(address: str, libraries: list[str]) -> None:
    """Fork a process for each request, until standard input ends."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # a kernel sets it, but too late
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(64)  # requests wait for the libraries
    for name in libraries:
        importlib.import_module(name)
    gc.freeze()  # a collection would write to shared memory, and so copy it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while 0 not in select.select([server, 0], [], [])[0]:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            supervise(connection)
        connection.close()
    shutil.rmtree(Path(address).parent)


def supervise(connection: socket.socket) -> NoReturn:
    """Fork the process that was asked for, tell its number and its status, and end it if whoever asked is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    length, streams, *_ = socket.recv_fds(connection, 8, 3)
    asked = json.loads(connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL))
    process = os.fork()
    if process == 0:
        connection.close()
        become(streams, **asked)
    for stream in streams:
        os.close(stream)
    connection.sendall(process.to_bytes(8, "big"))
    ended = os.pidfd_open(process)
    if ended not in select.select([ended, connection], [], [])[0]:
        os.killpg(0, signal.SIGKILL)  # with all that it has started
    _, status = os.waitpid(process, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) % 256]))
    os._exit(0)


def become(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> NoReturn:
    """Run a module in this process as `python ARGUMENTS` would."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if "JPY_PARENT_PID" in environment:  # a kernel ends with the process of this number
        os.environ["JPY_PARENT_PID"] = str(os.getppid())
    if threads := os.environ.get("OMP_NUM_THREADS"):  # which libraries read when they are loaded
        sys.modules["threadpoolctl"].threadpool_limits(int(threads))
    _, module, *sys.argv[1:] = arguments
    sys.path[:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    status: object = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # to take down all modules would copy them first


if __name__ == "__main__":
    main()
