"""A chat model asked as an expert: given the scores of all methods, how would it rank the layers?

Scores, cards and the architecture go out, never a review. The key and the address of the server come from the
environment alone (`OPENAI_API_KEY`, `OPENAI_BASE_URL`), as parameters end up in notebooks. What was asked and answered
is recorded beside the run: the same question is answered from the record, so that a book is built again without a key
or cost.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError

from layerwise.errors import InputError
from layerwise.importance import Method
from layerwise.results import Expert, Model, save

TASK = """You are an expert in the compression of Transformers. A classifier of {layers} layers is to keep only its \
most important ones. Layers are numbered from 0, nearest to the input. For each method of importance you are given the \
question that it asks, what it needs, and a score a layer with its 95 % interval: the larger, the more important. The \
methods disagree, and none is known to be right. Rank the layers from 1, to be kept above all, to {layers}, each rank \
once. For each layer say how confident you are, from 0 to 1, and in one sentence why."""


class NoOpinion(InputError):
    """The expert was not asked, or gave no answer that can be used; the message says why, and what to do."""


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
    """What was asked and what was answered, word for word. `answered_by` is what the server calls its model."""

    stage: Literal["4_expert"] = "4_expert"
    request: dict
    answered_by: str
    asked: str
    replies: list[str]


def question(model: Model, scores: dict, intervals: dict, cards: dict[str, Method]) -> list[dict[str, str]]:
    """The messages that put the case to the expert.

    Args:
        scores: a float a layer a method.
        intervals: a pair a layer a method.
    """
    architecture = model.model_dump(exclude={"base_model"}) | {"trained_from": model.base_model}
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
    anew: bool = False,
    timeout: float = 120,
) -> tuple[list[Opinion], Record]:
    """Opinions of a chat model on the layers: from the record where it holds this very question, else asked for.

    Args:
        layers: how many the model under study has.
        model: name of the chat model; None asks nobody.
        samples: how often it is asked.
        folder: of the run, where the record is read, and written when every reply can be used.
        anew: ask even if the record holds the question.
        timeout: seconds to wait for a reply.

    Raises:
        NoOpinion: nobody was asked, the server did not answer, or a reply is not what was asked for.
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
    file = folder / "4_expert.json"
    if not anew and file.is_file():
        try:
            found = Record.model_validate_json(file.read_text())
        except ValidationError:
            raise InputError(f"{file.name} of this run holds no record of an expert: delete it") from None
        if found.request == request and len(found.replies) == samples:
            return [read(reply, layers) for reply in found.replies], found
    if not os.environ.get("OPENAI_API_KEY"):
        raise NoOpinion(
            f"No expert was asked: no answer of {model} to this question is recorded, and there is no OPENAI_API_KEY "
            "in the environment. Set it (and OPENAI_BASE_URL for a server of your own) and build again."
        )
    answered_by, replies = _ask(request, samples, timeout)
    opinions = [read(reply, layers) for reply in replies]
    asked = datetime.now(UTC).isoformat(timespec="seconds")
    found = Record(request=request, answered_by=answered_by, asked=asked, replies=replies)
    save(found, folder)
    return opinions, found


def read(reply: str, layers: int) -> Opinion:
    """An opinion from the text of a reply.

    Raises:
        NoOpinion: it is no JSON of the form that was asked for, or its layers or ranks are not those of the model.
    """
    try:
        opinion = Opinion.model_validate_json(reply)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise NoOpinion(_unusable(f"{where}: {problem['msg']}" if where else problem["msg"])) from None
    ranked = sorted(verdict.layer for verdict in opinion.layers)
    if ranked != list(range(layers)):
        raise NoOpinion(_unusable(f"it ranks the layers {ranked}, and the model has 0 to {layers - 1}"))
    ranks = sorted(verdict.rank for verdict in opinion.layers)
    if ranks != list(range(1, layers + 1)):
        raise NoOpinion(_unusable(f"its ranks are {ranks}, and not each of 1 to {layers} once"))
    return opinion


def summarise(opinions: list[Opinion], record: Record) -> Expert:
    """The opinions as a result keeps them, layers in the order of the stack."""
    ordered = [sorted(opinion.layers, key=lambda verdict: verdict.layer) for opinion in opinions]
    return Expert(
        answered_by=record.answered_by,
        asked=record.asked,
        ranks=[[verdict.rank for verdict in layers] for layers in ordered],
        confidence=[[verdict.confidence for verdict in layers] for layers in ordered],
        reasons=[[verdict.reason for verdict in layers] for layers in ordered],
    )


def scores(ranks: list[list[int]]) -> np.ndarray:
    """Scores (opinions, layers), larger for what is to be kept: how many layers it is ranked above."""
    return np.array([[len(opinion) - rank for rank in opinion] for opinion in ranks], dtype=float)


def table(expert: Expert) -> pd.DataFrame:
    """A row a layer: its mean rank, the spread of the ranks, the mean confidence, and the first opinion's reason."""
    ranks = np.array(expert.ranks)
    return pd.DataFrame(
        {
            "mean rank": ranks.mean(0).round(1),
            "highest": ranks.min(0),
            "lowest": ranks.max(0),
            "confidence": np.mean(expert.confidence, axis=0).round(2),
            "reason of the first opinion": expert.reasons[0],
        }
    ).rename_axis("layer")


def _ask(request: dict, samples: int, timeout: float) -> tuple[str, list[str]]:
    """What the server calls its model, and its replies."""
    import openai  # here, as most builds read this module and ask nobody

    try:
        if address := os.environ.get("OPENAI_BASE_URL"):
            TypeAdapter(HttpUrl).validate_python(address)
        client = openai.OpenAI(timeout=timeout)  # asks again by itself, twice, after a 429, a 5xx or a lost connection
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
        reason = f"the server knows no model {request['model']} (404)"
    except openai.APIStatusError as error:
        reason = f"the server failed ({error.status_code})"
    except openai.OpenAIError as error:
        reason = f"the client failed ({type(error).__name__})"
    except (ValueError, TypeError, LookupError, AttributeError):  # the client takes whatever comes with a 200
        reason = "the server's answer is no chat completion; is OPENAI_BASE_URL right?"
    raise NoOpinion(f"The expert gave no opinion: {reason}. Build with expert_anew=true to ask again.")


def _unusable(reason: str) -> str:
    return f"The expert's reply cannot be used: {reason}. It is not recorded; build with expert_anew=true to ask again."
