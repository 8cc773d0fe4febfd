"""Precomputed runs: every later chapter computes from them alone, and a file that was changed is refused."""

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import copy_project, run
from papermill import inspect_notebook

from layerwise.errors import InputError
from layerwise.study.precomputed import SUMS, fetch, pack, unpack
from layerwise.study.profiles import load_profile
from layerwise.study.stages import STAGES

RUN = "mine/scratch/seed0"


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A project with results of one run, beside what is not packed."""
    monkeypatch.chdir(tmp_path)
    files = {"Snakefile": "", "profiles/mine.yml": "models: {scratch: }"}
    files |= {f"runs/{RUN}/{name}": name for name in ("training.json", "core_importance.npz", "model/config.json")}
    files |= {f"runs/{RUN}/{name}": "" for name in ("training.log", "export/2x/config.json", "expert.json")}
    files |= {"runs/mine/reviews/test.parquet": "a text of somebody", "runs/mine/comparison.json": "{}"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def repack(packed: Path, changes: dict[str, bytes]) -> bytes:
    """The archive with other contents of some files, under its old checksums."""
    with zipfile.ZipFile(packed) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(target := io.BytesIO(), "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return target.getvalue()


def test_results_and_the_model_are_packed_and_neither_texts_nor_what_nobody_reads(mine):
    pack("mine", mine / "a.zip")
    pack("mine", mine / "b.zip")
    assert (mine / "a.zip").read_bytes() == (mine / "b.zip").read_bytes()
    files = unpack((mine / "a.zip").read_bytes(), mine / "elsewhere")
    names = {str(file.relative_to(mine / "elsewhere")) for file in files}
    of_run = {f"{RUN}/{name}" for name in ("training.json", "core_importance.npz", "model/config.json")}
    assert names == {"mine/comparison.json", *of_run}
    assert all(
        file.read_bytes() == (mine / "runs" / file.relative_to(mine / "elsewhere")).read_bytes() for file in files
    )


def test_a_profile_that_was_not_run_is_not_packed(mine):
    shutil.rmtree(mine / "runs")
    with pytest.raises(InputError, match="nothing was run with the profile mine: make book PROFILE=mine first"):
        pack("mine", mine / "a.zip")


def test_a_changed_file_is_refused_by_its_name_and_nothing_is_written(mine):
    pack("mine", mine / "a.zip")
    changed = repack(mine / "a.zip", {f"{RUN}/core_importance.npz": b"core_importance.npy"})
    with pytest.raises(InputError, match=f"{RUN}/core_importance.npz is not the file that was packed"):
        unpack(changed, mine / "elsewhere")
    sums = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  ../x\n"
    with pytest.raises(InputError, match=r"\.\./x would be written outside"):
        unpack(repack(mine / "a.zip", {SUMS: sums, "../x": b""}), mine / "elsewhere")
    assert not (mine / "elsewhere").exists()


def test_a_changed_byte_of_the_archive_is_refused_by_the_name_of_its_file(mine):
    pack("mine", mine / "a.zip")
    content = bytearray(repack(mine / "a.zip", {}))  # not compressed, so that the byte is one of the file
    content[content.rindex(b"core_importance.npz", 0, content.index(b"PK\x01\x02"))] ^= 1
    with pytest.raises(InputError, match=f"{RUN}/core_importance.npz"):
        unpack(bytes(content), mine / "elsewhere")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("profiles/mine.yml", "these are no precomputed runs"), ("nowhere.zip", "cannot fetch nowhere.zip: ")],
)
def test_a_file_that_is_missing_or_something_else_is_refused(mine, name, sentence):
    with pytest.raises(InputError, match=sentence):
        fetch(name)


def test_without_a_repository_on_github_a_file_has_to_be_named(mine, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    with pytest.raises(InputError, match="no repository on GitHub is known here: name a file"):
        fetch()


def test_other_results_are_not_overwritten(mine):
    pack("mine", mine / "a.zip")
    (mine / "runs" / RUN / "training.json").write_text("my own")
    with pytest.raises(InputError, match=r"training.json is already there, with other results: move .* away first"):
        unpack((mine / "a.zip").read_bytes(), mine / "runs")
    assert (mine / "runs" / RUN / "training.json").read_text() == "my own"


def timeless(file: Path) -> dict:
    """A result without its provenance, which says when and from which commit, and without measured times."""
    return {key: value for key, value in json.loads(file.read_text()).items() if key not in ("provenance", "timings")}


@pytest.fixture
def alone(project, tmp_path, monkeypatch) -> Path:
    """A project in which nothing was run, with the precomputed runs of the smoke profile."""
    monkeypatch.chdir(project)
    pack("smoke", tmp_path / "precomputed.zip")
    again = copy_project(tmp_path / "project")
    monkeypatch.chdir(again)
    fetch(str(tmp_path / "precomputed.zip"))
    return again


LATER = [name for name, stage in STAGES.items() if stage.computes and name != "training"]
SHORT = ("core_importance", "fusion", "ground_truth", "comparison")


@pytest.mark.parametrize(
    "stage", [pytest.param(name, marks=[] if name in SHORT else [pytest.mark.slow]) for name in LATER]
)
def test_a_later_chapter_computes_the_same_from_precomputed_runs_alone(alone, project, stage):
    shared, (first,) = load_profile("smoke")
    notebook = f"notebooks/{stage}.ipynb"
    parameters = shared if STAGES[stage].shared else first
    values = yaml.safe_dump(parameters.model_dump(include=set(inspect_notebook(notebook))))
    select = run(alone, sys.executable, "book/pages.py", "select", "compute", notebook, "part.ipynb")
    assert select.returncode == 0, select.stderr
    result = (parameters.profile_dir if STAGES[stage].shared else parameters.run_dir) / f"{stage}.json"
    threads = json.loads(result.read_text())["provenance"]["threads"]  # how many there are changes the last digits
    result.unlink()
    words = ("part.ipynb", "out.ipynb", "--kernel", "warm", "--parameters_yaml", values)
    warm = sys.executable, "book/warm.py", "-m", "papermill"
    done = run(alone, "env", f"OMP_NUM_THREADS={threads}", *warm, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    assert timeless(result) == timeless(project / result.relative_to(alone))


def test_runs_of_other_reviews_are_refused(alone, monkeypatch):
    trained = alone / "runs/smoke/scratch/seed0/training.json"
    result = json.loads(trained.read_text())
    result["data"]["sha256"] = "0" * 64
    trained.write_text(json.dumps(result))
    pack("smoke", alone / "other.zip")
    with pytest.raises(InputError, match=r"training.json was computed from other reviews: fetch the runs of this"):
        fetch(str(alone / "other.zip"))
