"""The library as its users see it: the examples in its docstrings and on its page run."""

import ast
import doctest
import re
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT

import layerwise

PUBLIC = {name: getattr(layerwise, name) for name in layerwise.__all__}
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("book/*.md")), ROOT / "results" / "README.md"]
MODULES = [
    "adapter",
    "batches",
    "evaluation",
    "grading",
    "importance.scoring",
    "ranking",
    "report.exercises",
    "statistics",
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module):
    results = doctest.testmod(import_module(f"layerwise.{module}"))
    assert results.attempted and not results.failed


def test_the_stories_of_the_page_on_the_library_run_and_have_eight_lines_at_most(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = ROOT / "book" / "library.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 15 and not results.failed
    stories = [part.count("\n>>> ") for part in page.read_text().split("\n## ")]
    assert len(stories) == 6 and max(stories) <= 8


def test_the_public_interface_is_a_dozen_names_or_so_and_each_is_documented():
    assert 10 <= len(PUBLIC) <= 15
    assert all(value.__doc__ for name, value in PUBLIC.items() if name != "METHODS")


def test_importing_the_library_changes_and_imports_nothing():
    code = """
import os, sys, warnings
before = dict(os.environ), list(warnings.filters)
import layerwise
print((dict(os.environ), list(warnings.filters)) == before)
import layerwise.importance
print("torch" in sys.modules)
layerwise.score
import torch
print(torch.are_deterministic_algorithms_enabled(), dict(os.environ) == before[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "False", "True"], done.stderr


def python_blocks(document) -> list[str]:
    """The Python code of a document, but for doctests, which run elsewhere."""
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    return [block for block in blocks if not block.startswith(">>>")]


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_example_of_the_readme_runs(name):
    (example,) = python_blocks(ROOT / name)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert done.returncode == 0 and "Interval(" in done.stdout, done.stderr


def test_the_code_of_the_documents_imports_names_that_the_library_has():
    imported = [
        (node.module, alias.name)
        for document in DOCUMENTS
        for block in python_blocks(document)
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("layerwise")
        for alias in node.names
    ]
    assert len(imported) > 10
    assert [each for each in imported if not hasattr(import_module(each[0]), each[1])] == []


def test_a_file_that_the_documents_name_exists_and_holds_the_name_that_they_place_in_it():
    text = "\n".join(document.read_text() for document in DOCUMENTS)
    files = set(re.findall(r"`((?:lib|tests|book)/[\w/.]+\.\w+)`", text))
    assert len(files) > 10 and [file for file in files if not (ROOT / file).is_file()] == []
    placed = re.findall(r"`(\w+)`\s+in\s+`(lib/[\w/.]+\.py)`", text)
    assert len(placed) > 3
    assert [(name, file) for name, file in placed if not re.search(rf"\b{name}\b", (ROOT / file).read_text())] == []
