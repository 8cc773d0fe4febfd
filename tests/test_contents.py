"""The contents of a book: they say which stages are run, so that one's own book has only what concerns it."""

import json
import re

import pytest
import yaml
from conftest import ROOT, command, copy_project, make_reviews, run

from layerwise.errors import InputError
from layerwise.study.contents import load_contents
from layerwise.study.stages import STAGES

CHAPTERS = ("training", "core_importance", "advanced_importance", "fusion", "ground_truth", "compression")


def test_the_command_for_one_s_own_data_plans_six_stages_and_neither_a_language_model_nor_a_recommender(tmp_path):
    again = copy_project(tmp_path)
    frame = make_reviews()
    labels = frame["rating"].map({5.0: "good", 1.0: "bad"})
    frame.assign(sentiment=labels, review_body=frame["text"]).to_csv(again / "reviews.csv")
    page = (again / "book/own.md").read_text()
    asked = re.search(r'make book PROFILE=own PARAMS="([^"]+)"', page)[1].replace("\\\n", " ")
    done = run(again, *command("--dry-run", "book", "--config", "profile=own", f"params={asked}"))
    assert done.returncode == 0, done.stderr
    planned = set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE))
    assert planned == {*CHAPTERS, *(f"render_{name}" for name in CHAPTERS), "page", "book"}
    assert (again / "runs/own/reviews").is_dir() and not (again / "runs/own/interactions").exists()


def test_the_whole_book_has_all_stages():
    file, chapters = load_contents("quick")
    assert file == "_toc.yml" and [stage.name for stage in chapters] == list(STAGES)


@pytest.mark.parametrize("profile", ["quick", "own"])
def test_no_page_of_a_book_quotes_a_stage_that_the_book_leaves_out(profile):
    file, chapters = load_contents(profile)
    listed = re.findall(r"(?:root|file): (\S+)", (ROOT / file).read_text())
    pages = [(ROOT / f"{page}.md").read_text() for page in listed if "stages/" not in page]
    for stage in chapters:
        cells = json.loads((ROOT / f"notebooks/{stage.name}.ipynb").read_text())["cells"]
        pages += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    quoted = {name for page in pages for name in re.findall(r"`(?:\S*/)?(\w+)\.ipynb::", page)}
    assert quoted and quoted <= {stage.name for stage in chapters}


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ({"root": "book/stages/trainings"}, "lists the stage 'trainings'; choose from: training, core_importance"),
        ({"root": "intro", "chapters": [{"file": "book/away"}]}, "lists book/away, and there is no book/away.md"),
        ({"root": "intro"}, "lists no stage that computes; choose from: training"),
        ("{", "cannot read book/mine_toc.yml: "),
    ],
)
def test_contents_that_cannot_be_built_are_refused_before_anything_runs(tmp_path, monkeypatch, contents, complaint):
    (tmp_path / "book").mkdir()
    for name in ("Snakefile", "intro.md"):
        (tmp_path / name).touch()
    text = contents if isinstance(contents, str) else yaml.safe_dump(contents)
    (tmp_path / "book/mine_toc.yml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=complaint) as caught:
        load_contents("mine")
    assert "\n" not in str(caught.value)
