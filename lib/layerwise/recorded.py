"""The recorded runs of the real study, which lie in `results/` beside the code."""

from pathlib import Path

from pydantic import BaseModel

from layerwise import results
from layerwise.errors import InputError
from layerwise.parameters import project_path

KINDS = {
    kind.model_fields["stage"].default: kind
    for kind in (
        results.TrainingResult,
        results.CoreImportance,
        results.AdvancedImportance,
        results.LanguageModel,
        results.Fusion,
        results.GroundTruth,
        results.Compression,
        results.Recommender,
        results.ComparisonResult,
    )
}
# The reference run, on a GPU and on a CPU; what else is recorded has been trained only, with other settings.
REFERENCE = ["electronics", "electronics_cpu"]
Runs = dict[tuple[str, int], dict[str, BaseModel]]  # the results of each stage by its name, for each subject and seed


def studies(names: list[str] | None = None) -> dict[str, Runs]:
    """Recorded studies of classifiers by the names of their folders: these, or all that there are.

    Raises:
        InputError: one of them is not recorded.
    """
    found: dict[str, Runs] = {}
    for folder in sorted(_folder().glob("*/*/seed*")):
        study, subject, seed = folder.parts[-3:]
        found.setdefault(study, {})[subject, int(seed.removeprefix("seed"))] = stages(folder)
    for name in names or []:
        if name not in found:
            raise InputError(f"no study {name!r} is recorded; choose from: {', '.join(found)}")
    return {name: found[name] for name in names or found}


def stages(run: Path) -> dict[str, BaseModel]:
    """The results that lie in the folder of a run, by the names of their stages."""
    return {file.stem: read(file) for file in sorted(run.glob("*.json")) if file.stem in KINDS}


def once(stage: str) -> dict[str, BaseModel]:
    """What a stage found that runs once for all subjects, by the name of its study."""
    return {file.parent.name: read(file) for file in sorted(_folder().glob(f"*/{stage}.json"))}


def hours(studies: dict[str, Runs]) -> float:
    """How long the stages of these studies took together, with those that run once for all subjects."""
    found = [result for runs in studies.values() for stages in runs.values() for result in stages.values()]
    found += [result for stage in results.ONCE for name, result in once(stage).items() if name in studies]
    return sum(result.provenance.seconds for result in found) / 3600


def read(file: Path) -> BaseModel:
    """The result in a file that is named after its stage."""
    return KINDS[file.stem].model_validate_json(file.read_text())


def _folder() -> Path:
    return project_path("results")
