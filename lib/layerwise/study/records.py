"""Recorded runs of the real study, in `results/` beside the code.

    python -m layerwise.study.records PROFILE

records the results of a profile's runs: their JSON, and nothing else.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from layerwise.errors import InputError
from layerwise.study import schemas
from layerwise.study.artifacts import stage_of
from layerwise.study.config import project_path
from layerwise.study.migration import STAGE_NAMES, upgrade
from layerwise.study.stages import STAGES

KINDS: dict[str, type] = {
    stage_of(kind): kind
    for kind in (
        schemas.TrainingResult,
        schemas.CoreImportanceResult,
        schemas.AdvancedImportanceResult,
        schemas.LanguageModelResult,
        schemas.FusionResult,
        schemas.GroundTruthResult,
        schemas.CompressionResult,
        schemas.FrontierResult,
        schemas.RecommenderResult,
        schemas.ComparisonResult,
    )
}
# The reference run, on a GPU and on a CPU; `electronics_compressed` repeats two runs of `electronics` and compresses
# them. The other studies trained a model with other settings, and stopped there.
REFERENCE_STUDIES = ["electronics", "electronics_cpu", "electronics_compressed"]
Runs = dict[tuple[str, int], dict[str, Any]]  # results of each stage by its name, for each model and seed


def load_studies(names: list[str] | None = None) -> dict[str, Runs]:
    """Recorded studies of classifiers by the names of their folders; by default all of them.

    Raises:
        InputError: one of them is not recorded.
    """
    studies: dict[str, Runs] = {}
    for folder in sorted(_folder().glob("*/*/seed*")):
        study, model, seed = folder.parts[-3:]
        studies.setdefault(study, {})[model, int(seed.removeprefix("seed"))] = load_stages(folder)
    for name in names or []:
        if name not in studies:
            raise InputError(f"no study {name!r} is recorded; choose from: {', '.join(studies)}")
    return {name: studies[name] for name in names or studies}


def leave_out_repeats(studies: dict[str, Runs]) -> dict[str, Runs]:
    """Studies without the results of a stage that an earlier one of them has for the same trained model.

    Models are the same if they have the same name, seed, size and history of training. So a model that two studies
    trained counts once where runs are counted.
    """
    known: dict[str, set[str]] = {}  # stages by model
    kept: dict[str, Runs] = {}
    for study, runs in studies.items():
        kept[study] = {}
        for (model, seed), stages in runs.items():
            trained = stages.get("training")
            same = json.dumps(
                [model, seed, trained.model.parameters, trained.history] if trained else [study, model, seed]
            )
            repeated = known.setdefault(same, set())
            kept[study][model, seed] = {name: result for name, result in stages.items() if name not in repeated}
            repeated.update(stages)
    return kept


def load_stages(run: Path) -> dict[str, Any]:
    """The results in the folder of a run, by the names of their stages, in the order of the stages."""
    files = sorted(run.glob("*.json"), key=lambda file: file.stem in KINDS)  # a name of today replaces an earlier one
    results = {_stage_name(file): load_record(file) for file in files if _stage_name(file) in KINDS}
    return {stage: results[stage] for stage in KINDS if stage in results}


def load_shared_stage(stage: str) -> dict[str, Any]:
    """The recorded results of a stage that runs once for all models, by the names of their studies."""
    files = [file for file in sorted(_folder().glob("*/*.json")) if _stage_name(file) == stage]
    return {file.parent.name: load_record(file) for file in files}


def total_hours(studies: dict[str, Runs]) -> float:
    """Hours that all stages of these studies took together, including those that run once for all models."""
    results = [result for runs in studies.values() for stages in runs.values() for result in stages.values()]
    for stage in STAGES.values():
        if stage.shared:
            results += [result for name, result in load_shared_stage(stage.name).items() if name in studies]
    return sum(result.provenance.seconds for result in results) / 3600


def load_record(file: Path) -> Any:
    """The result in a file that is named after its stage, by its name of today or an earlier one."""
    return TypeAdapter(KINDS[_stage_name(file)]).validate_json(json.dumps(upgrade(json.loads(file.read_text()))))


def group_by_model(studies: dict[str, Runs], stage: str) -> dict[str, dict[int, Any]]:
    """The results of a stage by seed, for each study and model that has it, named "study: model"."""
    groups: dict[str, dict[int, Any]] = {}
    for study, runs in studies.items():
        for (model, seed), stages in runs.items():
            if stage in stages:
                groups.setdefault(f"{study}: {model}", {})[seed] = stages[stage]
    return groups


def iterate_models(studies: dict[str, Runs]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Study, model, and the results of each of its seeds."""
    for study, runs in studies.items():
        for model in dict.fromkeys(model for model, _ in runs):
            yield study, model, [stages for (name, _), stages in runs.items() if name == model]


def record(profile: str) -> list[Path]:
    """Copy the results of a profile's runs to `results/<profile>`, and return the files that were written.

    Raises:
        InputError: nothing was run with this profile.
    """
    source, target = project_path("runs") / profile, _folder() / profile
    files = [file for file in sorted(source.rglob("*.json")) if file.stem in KINDS and file.stem != "comparison"]
    if not files:
        raise InputError(f"nothing was run with the profile {profile}: make book PROFILE={profile} first")
    for file in files:
        load_record(file)
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    return files


def _stage_name(file: Path) -> str:
    return STAGE_NAMES.get(file.stem, file.stem)


def _folder() -> Path:
    return project_path("results")


if __name__ == "__main__":
    try:
        record(sys.argv[1])
    except InputError as error:
        raise SystemExit(f"InputError: {error}") from None
