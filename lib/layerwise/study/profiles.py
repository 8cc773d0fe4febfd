"""Profiles: which models and seeds are run, with which parameters."""

import json
import shlex
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from layerwise.errors import InputError
from layerwise.importance import METHODS
from layerwise.ranking import FUSION_RULES
from layerwise.study.config import DATA_PARAMETERS, Parameters, describe_errors, project_path, silence_libraries

# Read only by stages that run once for all models and seeds, as is all that begins with `recommender_`.
SHARED_PARAMETERS = ("studies", "llm", "llm_reviews", "greedy_reviews", "interactions", "users", "graded_users")
# By whom layers can be selected: importance methods, fusions, an expert, the table of sub-networks, and baselines.
SELECTIONS = (
    *METHODS,
    *FUSION_RULES,
    "expert",
    *(f"{rule}_with_expert" for rule in FUSION_RULES),
    *("greedy", "best_subset"),
    *("first", "last", "even", "random_1", "random_2", "random_3", "random_4", "random_5"),
)
# With a class a product, Fisher information takes thousands of backward passes, and a probe has no second example.
RECOMMENDER_METHODS = tuple(name for name in METHODS if name not in ("fisher", "mutual_information"))
RECOMMENDER_SELECTIONS = tuple(  # no expert is asked
    name for name in SELECTIONS if name in RECOMMENDER_METHODS or (name not in METHODS and "expert" not in name)
)


class RunList(BaseModel):
    """What a profile runs: base models, each with parameters of its own, and seeds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: dict[str, dict | None] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


def load_profile(name: str, overrides: str = "") -> tuple[Parameters, list[Parameters]]:
    """The parameters of `profiles/<name>.yml`: those of the stages that run once, and those of each run.

    The runs are each model with each seed, in the order in which they are listed. Parameters of one model do not apply
    to the stages that run once for all models.

    Args:
        name: of the profile.
        overrides: `"seed=1 hidden_size=256"`; a value is JSON or YAML. They replace what the profile says, and what it
            says of a model. `seed` and `base_model` replace the lists `seeds` and `models`.

    Raises:
        InputError: there is no such profile, or a parameter has a wrong name or value.
    """
    silence_libraries()
    file = project_path("profiles") / f"{name}.yml"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in file.parent.glob("*.yml")))
        raise InputError(f"there is no profile {name!r}; choose one of: {known}")
    try:
        shared = yaml.safe_load(file.read_text())
        changes = dict(_assignment(word) for word in shlex.split(overrides))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"cannot read the parameters of profile {name!r}: {' '.join(str(error).split())}") from None
    listed = _list_runs(shared, changes)
    runs = [
        Parameters.check(
            {"epochs": None, "learning_rate": None, "models": list(listed.models), "seeds": listed.seeds}
            | shared
            | (own or {})
            | changes
            | {"profile": name, "base_model": base_model, "seed": seed}
        )
        for base_model, own in listed.models.items()
        for seed in listed.seeds
    ]
    _check_runs(listed, runs)
    of_the_first = listed.models[runs[0].base_model] or {}
    plain = {own: (shared | changes).get(own, Parameters.model_fields[own].default) for own in of_the_first}
    return runs[0].model_copy(update=plain), runs


def _list_runs(shared: dict, changes: dict) -> RunList:
    """The models and seeds that are run; their names are removed from both dictionaries."""
    models, seeds = shared.pop("models", None), shared.pop("seeds", [0])
    chosen = changes.pop("models", [changes.pop("base_model")] if "base_model" in changes else models)
    if isinstance(chosen, list):
        chosen = {model: (models or {}).get(model) for model in chosen}
    seeds = changes.pop("seeds", [changes.pop("seed")] if "seed" in changes else seeds)
    try:
        return RunList(models=chosen, seeds=seeds)
    except ValidationError as error:
        raise InputError(describe_errors(error)) from None


def _check_runs(listed: RunList, runs: list[Parameters]) -> None:
    shared_only = {*DATA_PARAMETERS, *SHARED_PARAMETERS, "profile", "runs", "base_model", "seed"}
    shared_only |= {name for name in Parameters.model_fields if name.startswith("recommender_")}
    for model, own in listed.models.items():
        if wrong := shared_only & set(own or {}):
            raise InputError(f"model {model!r} cannot have a {min(wrong)!r} of its own: set it for the profile")
    for run in runs:
        for name, allowed in (("heal", SELECTIONS), ("recommender_heal", RECOMMENDER_SELECTIONS)):
            for i, selection in enumerate(getattr(run, name)):
                if selection not in allowed:
                    options = ", ".join(allowed)
                    raise InputError(f"parameter '{name}.{i}': should be one of {options}, not {selection!r}")
    if len({run.run_dir for run in runs}) < len(runs):
        raise InputError(f"two runs would share a folder: models {list(listed.models)}, seeds {listed.seeds}")


def _assignment(word: str) -> tuple[str, object]:
    name, sign, value = word.partition("=")
    if not sign:
        raise ValueError(f"{word!r} is no name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, yaml.safe_load(value)  # [scratch, minilm] without quotes, which the shell would eat
