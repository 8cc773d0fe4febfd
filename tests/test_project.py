import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from layerwise import export_model
from layerwise.errors import InputError
from layerwise.examples import tiny_classifier
from layerwise.importance import METHODS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13"]


def locked(python: str) -> dict[str, str]:
    """The version of each package that the lock holds for this Python."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {
        canonicalize_name(line.name): str(line.specifier).removeprefix("==")
        for line in map(Requirement, lines)
        if not line.marker or line.marker.evaluate({"python_version": python})
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_holds_a_fitting_version_of_every_package_of_all_extras_and_of_what_they_need(python):
    versions, waiting, seen = locked(python), [Requirement("layerwise[test]")], set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if name.startswith(("cuda-", "nvidia-", "triton")):  # whose versions torch names
            continue
        if name != "layerwise":
            assert name in versions and asked.specifier.contains(versions[name]), asked
        for extra in {"", *asked.extras} - {extra for other, extra in seen if other == name}:
            seen.add((name, extra))
            try:
                needed = [Requirement(line) for line in metadata.requires(name) or ()]
            except metadata.PackageNotFoundError:  # another Python needs it
                continue
            environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
            waiting += [each for each in needed if not each.marker or each.marker.evaluate(environment)]
    assert {"pytest", "shap", "onnx", "duckdb", "implicit"} <= {name for name, _ in seen}


def test_every_package_of_the_lock_accepts_the_first_release_of_each_python():
    """Debian's Python 3.11 is 3.11.2, and a package may ask for a later one."""
    asked = {each.name: each.metadata.get("Requires-Python") or "" for each in metadata.distributions()}
    for release in ("3.11.0", "3.12.0", "3.13.0"):
        assert [name for name, pythons in asked.items() if not SpecifierSet(pythons).contains(release)] == []


def test_the_pythons_of_the_lock_are_those_of_the_project_and_of_the_workflow_that_tests_it():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == PYTHONS
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [f"3.{minor}" for minor in range(30) if supported.contains(f"3.{minor}.0")] == PYTHONS


def test_the_version_is_the_same_in_the_project_in_its_citation_and_at_the_top_of_the_changelog():
    newest = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_no_module_imports_one_of_a_higher_storey_and_the_core_needs_no_package_of_the_study():
    done = run(ROOT, "lint-imports", "--no-logo", "--no-cache")
    assert done.returncode == 0, done.stdout


def test_conda_s_environment_is_python_and_the_lock():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(item for item in conda if isinstance(item, str) and item.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{python.split('=')[1]}.0")
    assert conda[-1] == {"pip": ["--requirement requirements.lock"]}


def test_the_versions_that_the_book_cannot_do_without_are_kept():
    for versions in map(locked, PYTHONS):
        assert versions["torch"] == "2.13.0" and versions["jupyter-book"].startswith("1.")
        assert (versions["sphinx-book-theme"], versions["pydata-sphinx-theme"]) == ("1.1.4", "0.15.4")


def test_every_reference_of_a_method_and_of_the_pages_is_in_the_bibliography():
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    assert {method.reference for method in METHODS.values()} <= known


def test_no_tracked_file_is_big_or_names_a_folder_of_this_machine():
    for name in run(ROOT, "git", "ls-files").stdout.splitlines():
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert len(content) < 1_000_000 and str(ROOT).encode() + b"/" not in content, name


def test_recording_keeps_the_json_of_the_stages_in_their_folders_and_nothing_else(tmp_path):
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "Snakefile").touch()  # marks the folder of a project
    stage, shared = Path("mine/scratch/seed0/training.json"), Path("mine/recommender.json")
    others = [stage.with_suffix(".npz"), shared.with_suffix(".log"), Path("mine/comparison.json")]
    others += [stage.parent / name for name in ("model/config.json", "expert.json")]  # expert.json holds texts
    contents = dict.fromkeys(others, "not to be recorded")
    for file in (stage, shared):
        contents[file] = next((ROOT / "results").rglob(f"*{file.name}")).read_text()
    for file, content in contents.items():
        (tmp_path / "runs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / file).write_text(content)
    run(tmp_path, "git", "init")
    record = ["make", "--old-file=.venv/installed", "record"]  # with the packages of this environment
    done = run(tmp_path, *record, "PROFILE=mine")
    assert done.returncode == 0 and "results/" in done.stdout, done.stderr
    kept = {file.relative_to(tmp_path / "results"): file.read_text() for file in (tmp_path / "results").rglob("*.*")}
    assert kept == {file: contents[file] for file in (stage, shared)}
    refused = run(tmp_path, *record, "PROFILE=other")
    assert refused.returncode != 0 and "make book PROFILE=other first" in refused.stderr


def hide(monkeypatch, package: str) -> None:
    """As if the package were not installed."""
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(("method", "package"), [("shap", "shap"), ("mutual_information", "sklearn")])
def test_a_method_without_its_package_names_the_extra_to_install(method, package, monkeypatch):
    hide(monkeypatch, package)
    monkeypatch.delitem(sys.modules, f"layerwise.importance.{method}", raising=False)
    with pytest.raises(InputError, match=rf"{method} needs the module {package}\S*: pip install 'layerwise\[methods\]"):
        _ = METHODS[method].function


def test_without_the_packages_of_onnx_an_export_names_their_extra_and_a_folder_for_pytorch_is_written(
    monkeypatch, tmp_path
):
    hide(monkeypatch, "onnxruntime")
    model, tokenizer, *_ = tiny_classifier()
    folder = tmp_path / "smaller"
    with pytest.raises(InputError, match=r"needs the module onnxruntime\S*: pip install 'layerwise\[export\]"):
        export_model(model, tokenizer, folder)
    assert not folder.exists()
    export_model(model, tokenizer, folder, onnx=False)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in folder.iterdir()}


def test_the_workflow_starts_without_waiting_for_torch():
    read = [line for line in (ROOT / "Snakefile").read_text().splitlines() if line.startswith("from layerwise")]
    done = run(ROOT, sys.executable, "-c", "\n".join([*read, "import sys", "print('torch' in sys.modules)"]))
    assert len(read) > 3 and done.stdout.strip() == "False", done.stderr
