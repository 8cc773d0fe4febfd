"""A chat model as an expert: it ranks the layers of a model from the scores of all methods.

Scores, cards of methods and the architecture are sent, never a review. The key and the address of the server come only
from the environment (`OPENAI_API_KEY`, `OPENAI_BASE_URL`), because parameters are written to notebooks. Request and
replies are recorded in the folder of the run. The same request is answered from the record, so that the book can be
built again without a key or cost.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError

from layerwise.budget import ModelSize
from layerwise.errors import InputError
from layerwise.importance import Method
from layerwise.study.artifacts import save_result
from layerwise.study.schemas import ExpertOpinions

# This text and the docstrings of `Verdict` and `Opinion` are part of the request: a change makes all records useless.
TASK = """You are an expert in the compression of Transformers. A classifier of {layers} layers is to keep only its \
most important ones. Layers are numbered from 0, nearest to the input. For each method of importance you are given the \
question that it asks, what it needs, and a score a layer with its 95 % interval: the larger, the more important. The \
methods disagree, and none is known to be right. Rank the layers from 1, to be kept above all, to {layers}, each rank \
once. For each layer say how confident you are, from 0 to 1, and in one sentence why."""


class NoOpinion(InputError):
    """The expert was not asked, or gave no usable answer; the message says why, and what to do."""


class Verdict(BaseModel):
    """On one layer."""

    model_config = ConfigDict(extra="forbid")

    layer: int
    rank: int
    confidence: Annotated[float, Field(ge=0, le=1)]
    reason: str


class Opinion(BaseModel):
    """The form of a reply."""

    model_config = ConfigDict(extra="forbid")

    layers: list[Verdict]


class Record(BaseModel):
    """A request and its replies, word for word.

    Attributes:
        answered_by: the name that the server gives to its model.
        asked: date and time.
    """

    stage: Literal["expert"] = "expert"
    request: dict[str, Any]
    answered_by: str
    asked: str
    replies: list[str]


def make_question(
    model: ModelSize,
    scores: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]],
    cards: Mapping[str, Method],
) -> list[dict[str, str]]:
    """Make the messages that ask the expert to rank the layers of a model.

    Args:
        scores: L scores of each method.
        intervals: L intervals of each method.
        cards: of the methods.
    """
    architecture = {name: value for name, value in asdict(model).items() if name != "base_model"}
    architecture["trained_from"] = model.base_model
    methods = {
        name: {
            "question": cards[name].question,
            "needs": cards[name].needs,
            "scores": [float(f"{value:.4g}") for value in values],
            "intervals": [[float(f"{edge:.4g}") for edge in pair] for pair in intervals[name]],
        }
        for name, values in scores.items()
    }
    return [
        {"role": "system", "content": TASK.format(layers=model.layers)},
        {"role": "user", "content": json.dumps({"architecture": architecture, "methods": methods})},
    ]


def consult(
    messages: list[dict[str, str]],
    layers: int,
    model: str | None,
    samples: int,
    folder: Path,
    refresh: bool = False,
    timeout: float = 120,
) -> tuple[list[Opinion], Record]:
    """Get opinions of a chat model on the layers: from the record if it has the same request, else from the server.

    Args:
        messages: of `make_question`.
        layers: number of layers to rank.
        model: name of the chat model; None asks nobody.
        samples: number of replies to the same request.
        folder: of the run. The record is read there, and is written if all replies can be used.
        refresh: ask even if the record has the request.
        timeout: seconds to wait for a reply.

    Raises:
        InputError: the record cannot be read or written.
        NoOpinion: nobody was asked, the server did not answer, or a reply cannot be used.
    """
    if model is None:
        raise NoOpinion("No expert was asked: set OPENAI_API_KEY, and build with the parameter expert_model=gpt-4o.")
    request = {
        "model": model,
        "messages": messages,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "opinion", "strict": True, "schema": Opinion.model_json_schema()},
        },
    }
    record = None if refresh else _load_record(folder)
    if record and record.request == request and len(record.replies) == samples:
        return [parse_reply(reply, layers) for reply in record.replies], record
    if not os.environ.get("OPENAI_API_KEY"):
        raise NoOpinion(
            f"No expert was asked: no answer of {model} to this question is recorded, and there is no OPENAI_API_KEY "
            "in the environment. Set it (and OPENAI_BASE_URL for a server of your own) and build again."
        )
    answered_by, replies = _ask(request, samples, timeout)
    opinions = [parse_reply(reply, layers) for reply in replies]
    asked = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(request=request, answered_by=answered_by, asked=asked, replies=replies)
    save_result(record, folder)
    return opinions, record


def parse_reply(reply: str, layers: int) -> Opinion:
    """Read an opinion from the text of a reply.

    Raises:
        NoOpinion: it is not JSON of the requested form, or it does not rank each layer of the model once.
    """
    try:
        opinion = Opinion.model_validate_json(reply)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise NoOpinion(_reply_error(f"{place}: {problem['msg']}" if place else problem["msg"])) from None
    ranked = sorted(verdict.layer for verdict in opinion.layers)
    if ranked != list(range(layers)):
        raise NoOpinion(_reply_error(f"it ranks the layers {ranked}, and the model has 0 to {layers - 1}"))
    ranks = sorted(verdict.rank for verdict in opinion.layers)
    if ranks != list(range(1, layers + 1)):
        raise NoOpinion(_reply_error(f"its ranks are {ranks}, and not each of 1 to {layers} once"))
    return opinion


def summarise_opinions(opinions: list[Opinion], record: Record) -> ExpertOpinions:
    """Summarise opinions as a result, with the layers in the order of the stack."""
    ordered = [sorted(opinion.layers, key=lambda verdict: verdict.layer) for opinion in opinions]
    return ExpertOpinions(
        answered_by=record.answered_by,
        asked=record.asked,
        ranks=[[verdict.rank for verdict in layers] for layers in ordered],
        confidence=[[verdict.confidence for verdict in layers] for layers in ordered],
        reasons=[[verdict.reason for verdict in layers] for layers in ordered],
    )


def opinion_scores(ranks: list[list[int]]) -> np.ndarray:
    """Turn ranks into scores (opinions, layers): the number of layers that are ranked as less important."""
    return np.array([[len(opinion) - rank for rank in opinion] for opinion in ranks], dtype=float)


def _load_record(folder: Path) -> Record | None:
    """Load the record of a run, if there is one.

    Raises:
        InputError: the file is not a record.
    """
    file = folder / "expert.json"
    if not file.is_file():
        return None
    try:
        return Record.model_validate_json(file.read_text())
    except ValidationError:
        raise InputError(f"{file.name} of this run holds no record of an expert: delete it") from None


def _ask(request: dict[str, Any], samples: int, timeout: float) -> tuple[str, list[str]]:
    """Send the request to the server several times.

    Returns:
        The name that the server gives to its model, and the replies.

    Raises:
        NoOpinion: the server did not answer.
    """
    import openai  # imported here, because most builds ask nobody

    try:
        if address := os.environ.get("OPENAI_BASE_URL"):
            TypeAdapter(HttpUrl).validate_python(address)
        client = openai.OpenAI(timeout=timeout)  # retries twice after a 429, a 5xx or a lost connection
        answers = [client.chat.completions.create(**request) for _ in range(samples)]
        return answers[0].model, [answer.choices[0].message.content or "" for answer in answers]
    except ValidationError:
        reason = "OPENAI_BASE_URL is not the address of a server"
    except openai.APITimeoutError:
        reason = f"the server did not answer within {timeout:g} seconds"
    except openai.APIConnectionError:
        reason = "the server cannot be reached, or cut the connection; is OPENAI_BASE_URL right?"
    except openai.AuthenticationError:
        reason = "the server refused the key (401); is OPENAI_API_KEY right?"
    except openai.RateLimitError:
        reason = "too many requests, or no credit left (429); wait, or ask less"
    except openai.NotFoundError:
        reason = f"the server has no model {request['model']} (404)"
    except openai.APIStatusError as error:
        reason = f"the server failed ({error.status_code})"
    except openai.OpenAIError as error:
        reason = f"the client failed ({type(error).__name__})"
    except (ValueError, TypeError, LookupError, AttributeError):  # the client accepts any content with status 200
        reason = "the server's answer is no chat completion; is OPENAI_BASE_URL right?"
    raise NoOpinion(f"The expert gave no opinion: {reason}. Build with refresh_expert=true to ask again.")


def _reply_error(reason: str) -> str:
    """The message of a reply that cannot be used."""
    return (
        f"The expert's reply cannot be used: {reason}. It is not recorded; build with refresh_expert=true to ask again."
    )
