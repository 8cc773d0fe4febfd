import re
import sys
import tomllib
from pathlib import Path

import yaml
from conftest import ROOT, run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKED = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_lock_holds_a_fitting_version_of_everything_the_project_asks_for():
    locked = {canonicalize_name(name): version for name, version in LOCKED.items()}
    for asked in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        requirement = Requirement(asked)
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), asked


def test_conda_s_environment_is_python_and_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(item for item in conda if isinstance(item, str) and item.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{python.split('=')[1]}.0")
    assert conda[-1] == {"pip": ["--requirement requirements.lock"]}


def test_the_versions_that_the_book_cannot_do_without_are_kept():
    assert LOCKED["torch"] == "2.13.0" and LOCKED["jupyter-book"].startswith("1.")
    assert (LOCKED["sphinx-book-theme"], LOCKED["pydata-sphinx-theme"]) == ("1.1.4", "0.15.4")


def test_every_reference_of_a_method_and_of_the_pages_is_in_the_bibliography():
    from layerwise.importance import METHODS

    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    assert {method.reference for method in METHODS.values()} <= known


def test_no_tracked_file_is_big_or_names_a_folder_of_this_machine():
    for name in run(ROOT, "git", "ls-files").stdout.splitlines():
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert len(content) < 1_000_000 and str(ROOT).encode() + b"/" not in content, name


def test_recording_keeps_the_json_of_the_stages_in_their_folders_and_nothing_else(tmp_path):
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    stage, once = Path("mine/scratch/seed0/1_training.json"), Path("mine/7_recommender.json")
    others = [stage.with_suffix(".npz"), once.with_suffix(".log")]
    others += [stage.parent / name for name in ("model/config.json", "4_expert.json")]  # who holds texts
    for file in (stage, once, *others):
        (tmp_path / "runs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / file).write_text(file.name)
    run(tmp_path, "git", "init")
    assert run(tmp_path, "make", "record", "PROFILE=mine").returncode == 0
    kept = {file.relative_to(tmp_path / "results"): file.read_text() for file in (tmp_path / "results").rglob("*.*")}
    assert kept == {stage: stage.name, once: once.name}
    refused = run(tmp_path, "make", "record", "PROFILE=other")
    assert refused.returncode != 0 and "make book PROFILE=other first" in refused.stderr


def test_the_workflow_starts_without_waiting_for_torch():
    read = [line for line in (ROOT / "Snakefile").read_text().splitlines() if line.startswith("from layerwise")]
    done = run(ROOT, sys.executable, "-c", "\n".join([*read, "import sys", "print('torch' in sys.modules)"]))
    assert len(read) > 3 and done.stdout.strip() == "False", done.stderr
