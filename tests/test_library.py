"""The library as its users see it: the examples in its docstrings and on its page run."""

import doctest
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT

import layerwise

PUBLIC = {name: getattr(layerwise, name) for name in layerwise.__all__}
MODULES = ["adapter", "batches", "evaluation", "grading", "importance.scoring", "ranking", "statistics"]


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
