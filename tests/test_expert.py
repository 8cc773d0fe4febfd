"""The client of the expert, with a scripted server and with a real one, both on this machine."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from layerwise.budget import ModelSize
from layerwise.importance import METHODS
from layerwise.report import tables
from layerwise.study import expert
from layerwise.study.data import assets

KEY = "sk-secret-of-the-reader"
MODEL = ModelSize(
    base_model="scratch",
    architecture="Bert",
    layers=3,
    hidden_size=8,
    vocabulary_size=10,
    parameters=100,
    parameters_per_layer=[20] * 3,
)
SCORES = {"fisher": [0.1, 0.23456789, 0.3], "ablation": [3.0, 1.0, 2.0]}
INTERVALS = {name: [(v - 1, v + 1) for v in values] for name, values in SCORES.items()}
QUESTION = expert.make_question(MODEL, SCORES, INTERVALS, METHODS)


def reply(ranks, **changes) -> str:
    verdicts = [{"layer": i, "rank": rank, "confidence": 0.5, "reason": "its scores"} for i, rank in enumerate(ranks)]
    return json.dumps({"layers": [verdict | changes for verdict in verdicts]})


def completion(content: str | None) -> dict:
    message = {"role": "assistant", "content": content}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }


class Server(ThreadingHTTPServer):
    """Replies with the steps of a script, then always with the last one; records requests and keys.

    A step is a status with a body, "hang" or "cut" (the connection).
    """

    def __init__(self, *script):
        self.script, self.requests, self.keys = list(script), [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                server.keys.append(self.headers["Authorization"])
                step = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                if step == "hang":
                    time.sleep(3)
                if step in ("hang", "cut"):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, body = step
                body = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def serve(monkeypatch):
    """Start a server with a script, and set its address in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    servers = []

    def start(*script) -> Server:
        servers.append(Server(*script))
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{servers[-1].server_port}/v1")
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def consult(folder: Path, **options):
    return expert.consult(QUESTION, 3, **{"model": "gpt-4o", "samples": 2, "folder": folder, "timeout": 20} | options)


def test_opinions_become_scores_of_layers_and_a_table_shows_their_range(serve, tmp_path):
    server = serve((200, completion(reply([2, 1, 3]))), (200, completion(reply([1, 2, 3]))))
    opinions = expert.summarise_opinions(*consult(tmp_path))
    assert (opinions.answered_by, opinions.ranks) == ("gpt-4o-2024-08-06", [[2, 1, 3], [1, 2, 3]])
    np.testing.assert_array_equal(expert.opinion_scores(opinions.ranks), [[1, 2, 0], [2, 1, 0]])
    assert tables.expert_table(opinions)[["mean rank", "highest", "lowest"]].to_numpy().tolist() == [
        [1.5, 1, 2],
        [1.5, 1, 2],
        [3, 3, 3],
    ]
    assert server.keys == [f"Bearer {KEY}"] * 2


def test_scores_cards_and_architecture_are_sent_with_the_schema_of_the_reply(serve, tmp_path):
    server = serve((200, completion(reply([2, 1, 3]))))
    consult(tmp_path)
    request = server.requests[0]
    content = json.loads(request["messages"][1]["content"])
    assert content["architecture"]["layers"] == 3 and content["methods"]["fisher"]["scores"] == [0.1, 0.2346, 0.3]
    assert content["methods"]["ablation"]["question"] == METHODS["ablation"].question
    reply_format = request["response_format"]["json_schema"]
    assert reply_format["schema"]["$defs"]["Verdict"]["required"] == ["layer", "rank", "confidence", "reason"]
    assert reply_format["strict"] and reply_format["schema"]["additionalProperties"] is False


def test_layers_of_a_reply_may_be_in_any_order():
    shuffled = json.loads(reply([2, 1, 3]))
    shuffled["layers"].reverse()
    opinion = expert.parse_reply(json.dumps(shuffled), 3)
    record = expert.Record(request={}, answered_by="m", asked="2026-01-01", replies=[""])
    assert expert.summarise_opinions([opinion], record).ranks == [[2, 1, 3]]


def test_the_same_request_is_answered_from_the_record_without_key_or_server(serve, tmp_path, monkeypatch):
    server = serve((200, completion(reply([2, 1, 3]))))
    first = consult(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert consult(tmp_path) == first and len(server.requests) == 2
    text = (tmp_path / "expert.json").read_text()
    assert KEY not in text and "127.0.0.1" not in text and "gpt-4o-2024-08-06" in text


@pytest.mark.parametrize("change", [{"refresh": True}, {"model": "gpt-5"}, {"samples": 3}])
def test_another_request_or_a_refresh_asks_the_server(serve, tmp_path, change):
    server = serve((200, completion(reply([2, 1, 3]))))
    consult(tmp_path)
    server.script[:] = [(200, completion(reply([3, 1, 2])))]
    opinions, _ = consult(tmp_path, **change)
    assert len(server.requests) == 2 + len(opinions)
    assert [verdict.rank for verdict in opinions[0].layers] == [3, 1, 2]


def test_without_a_model_or_a_key_nobody_is_asked_and_the_message_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(expert.NoOpinion, match="No expert was asked: set OPENAI_API_KEY, and build with"):
        consult(tmp_path, model=None)
    with pytest.raises(expert.NoOpinion, match="No expert was asked: no answer of gpt-4o .* no OPENAI_API_KEY"):
        consult(tmp_path)


def test_after_too_many_requests_or_a_failure_the_client_retries(serve, tmp_path):
    good = (200, completion(reply([2, 1, 3])))
    server = serve((429, {}), good, (500, {}), "cut", good)
    opinions, _ = consult(tmp_path)
    assert len(opinions) == 2 and len(server.requests) == 5


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ((401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}), "refused the key (401)"),
        ((404, {}), "the server has no model gpt-4o (404)"),
        ((400, {}), "the server failed (400)"),
        ((429, {}), "too many requests, or no credit left (429)"),
        ((500, {}), "the server failed (500)"),
        ("hang", "did not answer within 0.5 seconds"),
        ("cut", "cannot be reached, or cut the connection"),
        ((200, "<html>busy</html>"), "the server's answer is no chat completion"),
        ((200, {"choices": []}), "the server's answer is no chat completion"),
        ((200, completion("Layer 0 is best.")), "Invalid JSON"),
        ((200, completion(None)), "Invalid JSON"),
        ((200, completion('{"ranking": [1, 2, 3]}')), "layers: Field required"),
        ((200, completion(reply([1, 2, 3], confidence=7))), "layers.0.confidence: Input should be less than"),
        ((200, completion(reply([1, 2]))), "it ranks the layers [0, 1], and the model has 0 to 2"),
        ((200, completion(reply([1, 2, 3, 4]))), "it ranks the layers [0, 1, 2, 3], and the model has 0 to 2"),
        ((200, completion(reply([1, 1, 3]))), "its ranks are [1, 1, 3], and not each of 1 to 3 once"),
        ((200, completion(reply([0, 1, 2]))), "its ranks are [0, 1, 2], and not each of 1 to 3 once"),
    ],
)
def test_a_failure_is_reported_in_one_sentence_and_no_opinion_is_invented_or_recorded(serve, tmp_path, step, complaint):
    server = serve(step)
    with pytest.raises(expert.NoOpinion) as caught:
        consult(tmp_path, timeout=0.5)
    message = str(caught.value)
    assert complaint in message and "\n" not in message and KEY not in message and "127.0.0.1" not in message
    assert server.requests and not list(tmp_path.iterdir())


def test_one_unusable_reply_gives_no_opinion_and_leaves_the_record_unchanged(serve, tmp_path):
    server = serve((200, completion(reply([2, 1, 3]))))
    consult(tmp_path)
    before = (tmp_path / "expert.json").read_text()
    server.script[:] = [(200, completion(reply([2, 1, 3]))), (200, completion("no"))]
    with pytest.raises(expert.NoOpinion, match="cannot be used"):
        consult(tmp_path, refresh=True)
    assert (tmp_path / "expert.json").read_text() == before


def test_an_invalid_address_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for address in ("nowhere", "http://127.0.0.1:9/v1", "http://[::"):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        with pytest.raises(expert.NoOpinion, match="OPENAI_BASE_URL"):
            consult(tmp_path)


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "expert.json").write_text("{")
    with pytest.raises(expert.InputError, match="expert.json of this run holds no record of an expert: delete it"):
        consult(tmp_path)


@pytest.mark.slow
def test_a_model_on_a_real_server_that_cannot_rank_gives_no_opinion(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["transformers", "serve", str(assets.smollm2()), "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen(
            [str(Path(sys.executable).with_name(words[0])), *words[1:]], stdout=log, stderr=log, env=environment
        )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert serving.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        folder = tmp_path / "run"
        folder.mkdir()
        with pytest.raises(expert.NoOpinion, match="The expert's reply cannot be used") as caught:
            consult(folder, model=str(assets.smollm2()), samples=1, timeout=300)
        assert "\n" not in str(caught.value) and not list(folder.iterdir())
    finally:
        serving.terminate()
        serving.wait()
