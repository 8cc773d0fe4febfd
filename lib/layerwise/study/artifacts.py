"""Results of stages in the folders of their runs: saved whole or not at all, with provenance."""

import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, TypeAdapter

from layerwise.errors import InputError
from layerwise.study.config import Parameters, project_path

VERSIONS_OF = ("torch", "transformers", "datasets", "duckdb", "numpy", "scipy", "scikit-learn")
_STARTED = time.time()
Result = TypeVar("Result")


class Provenance(BaseModel):
    """Where numbers come from. All but `finished` and `seconds` is the same when the run is repeated."""

    commit: str
    parameters: dict
    reviews_sha256: str
    device: str
    threads: int
    versions: dict[str, str]
    finished: str
    seconds: float


def make_provenance(parameters: Parameters, data_sha256: str) -> Provenance:
    """The provenance of the notebook that is running. Paths in its parameters are reduced to their last part."""
    import torch  # here, because pages read results without it

    values = parameters.model_dump(exclude_unset=True, exclude={"runs"})
    for name in ("source", "base_model", "pretraining_texts", "llm", "interactions"):
        if values.get(name):
            values[name] = values[name].rstrip("/").rsplit("/", 1)[-1]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    return Provenance(
        commit=_commit(),
        parameters=values,
        reviews_sha256=data_sha256,
        device=device,
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in VERSIONS_OF},
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - _STARTED, 1),
    )


def save_result(result, folder: Path, **arrays: np.ndarray) -> None:
    """Write a result to `<stage>.json` in the folder, and arrays to `<stage>.npz`; each completely or not at all.

    Raises:
        InputError: a file cannot be written.
    """
    file = folder / f"{result.stage}.json"
    part = file.with_suffix(".part")
    try:
        if arrays:
            with part.open("wb") as stream:
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
            part.replace(file.with_suffix(".npz"))
        part.write_bytes(TypeAdapter(type(result)).dump_json(result, indent=1) + b"\n")
        part.replace(file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


def load_result(kind: type[Result], parameters: Parameters) -> Result:
    """The result of this kind that a stage saved for the same run.

    Raises:
        InputError: the stage was not run.
    """
    return TypeAdapter(kind).validate_json(_find_output(kind, parameters, ".json").read_bytes())


def load_arrays(kind: type, parameters: Parameters) -> dict[str, np.ndarray]:
    """The arrays that a stage saved with its result of this kind.

    Raises:
        InputError: the stage was not run.
    """
    with np.load(_find_output(kind, parameters, ".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def stage_of(kind: type) -> str:
    """The name of the stage that has results of this kind."""
    if issubclass(kind, BaseModel):
        return kind.model_fields["stage"].default
    return getattr(kind, "stage")  # noqa: B009 (a dataclass of pydantic; its field is no attribute that a type has)


def _find_output(kind: type, parameters: Parameters, suffix: str) -> Path:
    stage = stage_of(kind)
    folder = parameters.profile_dir if getattr(kind, "shared", False) else parameters.run_dir
    file = folder / f"{stage}{suffix}"
    if not file.is_file():
        raise InputError(f"there is no {file.name} in {file.parent}: run the notebook {stage} first")
    return file


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=project_path("."), capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
    except FileNotFoundError:
        commit = ""
    changes = git("status", "--porcelain", "--", "lib", "notebooks", "profiles", "Snakefile")  # data and runs are none
    return f"{commit}{' with changes' if changes else ''}" if commit else "unknown"
