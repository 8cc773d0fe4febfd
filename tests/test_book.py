"""The chapters as lessons: their structure, and that their prose contains no result that no run measured."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from layerwise import ranking
from layerwise.grading import bootstrap_values, grade_selection, select_layers
from layerwise.report.exercises import check_answer
from layerwise.study.models import recommender
from layerwise.subnetworks import SubnetworkTable, all_masks, greedy_path

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WRITTEN = ("fusion", "ground_truth", "compression", "recommender")  # chapters with an exercise to write, and answers
PAGES = sorted(file for file in (ROOT / "book").rglob("*.md") if "stages" not in file.parts)

# Numbers in prose that no run measures: the level of an interval and of a test, chance, all; and, of single pages,
# parameters, definitions and what others report of their data.
GIVEN = {"95 %", "2.5 %", "50 %", "100 %", "0 %", "3.11", "3.13"}
GIVEN_ON = {
    "training": {"16 times"},
    "language_model": {"1.35", "0.71"},
    "library": {"0.5"},
    "data": {"0.5"},
    "data_statement": {"0.5", "0.25", "43.9"},
    "model_card": {"90 %"},
    "method": {"10 %"},
}
NOT_PROSE = re.compile(
    r"```.*?```|~~~.*?~~~|\$\$.*?\$\$|\$[^$\n]+\$|\{[\w:]+\}`[^`]*`|`[^`]*`|\(https?://[^)]*\)|<https?://[^>]*>",
    re.DOTALL,
)
RESULT = re.compile(
    r"\d+(?:[.,]\d+)*\s?%|\d+\.\d+(?!\.\d)\w*|\d+(?:\.\d+)? (?:points|nats|seconds|minutes|hours|times)\b"
)


def cells(file) -> list[dict]:
    return json.loads(file.read_text())["cells"]


def read_prose(file) -> str:
    """The prose of a page."""
    if file.suffix == ".md":
        return file.read_text()
    return "\n\n".join("".join(cell["source"]) for cell in cells(file) if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_chapter_opens_with_its_aims_asks_for_predictions_and_ends_with_the_reader_s_own_data(file):
    text = read_prose(file)
    places = [
        text.index(part)
        for part in ("What you will learn", "**Predict:**", "## Exercises", "## Change this for your own data")
    ]
    assert places == sorted(places) and text.count("**Predict:**") >= 2
    assert "make book PARAMS=" in text[places[-1] :] or "papermill" in text[places[-1] :]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_exercise_is_followed_by_its_hidden_solution(file):
    found = []
    for cell, after in zip(cells(file), cells(file)[1:], strict=False):
        numbers = re.findall(r"^\*\*(\d+)\.\*\*", "".join(cell["source"]), re.MULTILINE)
        if cell["cell_type"] == "markdown" and numbers:
            assert len(numbers) == 1 and after["cell_type"] == "code", numbers
            assert "hide-cell" in after["metadata"]["tags"], numbers
            found += numbers
    assert found == [str(number) for number in range(1, len(found) + 1)] and len(found) >= 3


@pytest.mark.parametrize("name", WRITTEN)
def test_a_prediction_is_asked_for_before_a_click_shows_what_was_measured(name):
    found = cells(ROOT / "notebooks" / f"{name}.ipynb")
    for place, cell in enumerate(found):
        if "**Predict:**" in "".join(cell["source"]):
            answer = next(each for each in found[place:] if each["cell_type"] == "code")
            assert "hide-output" in answer["metadata"]["tags"], cell["id"]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_chapter_says_at_its_head_what_it_needs_and_how_long_it_takes(name):
    head, *_ = cells(ROOT / "notebooks" / f"{name}.ipynb")
    _, _, opening = "".join(head["source"]).split("\n", 2)
    assert opening.startswith(":::{admonition} What you will learn\n")
    places = [
        opening.index(part) for part in ("**Needs:**", "**Before it:**", "**Takes:**", "stage-minutes", ":::\n\n")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_exercise_has_an_answer_in_words_and_one_asks_the_reader_to_write_the_thing_itself(name):
    prose = read_prose(ROOT / "notebooks" / f"{name}.ipynb").partition("## Exercises")[2]
    exercises = re.split(r"^\*\*\d+\.\*\*", prose, flags=re.MULTILINE)[1:]
    assert all(each.count(":::{admonition} Answer\n:class: dropdown") == 1 for each in exercises)
    assert sum("*Write it yourself:*" in each for each in exercises) == 1


def solution(name: str, cell_id: str) -> dict:
    """What the hidden solution of an exercise defines."""
    (cell,) = [each for each in cells(ROOT / "notebooks" / f"{name}.ipynb") if each["id"] == cell_id]
    defined = {"np": np}
    exec("".join(cell["source"]), defined)
    return defined


def test_the_written_solutions_give_what_the_library_gives():
    rng = np.random.default_rng(0)
    ranks = ranking.rank_layers(rng.integers(0, 4, (5, 6)))
    assert check_answer(solution("fusion", "write-borda")["my_borda"](ranks), ranking.borda(ranks)).startswith("Right")

    values = rng.random((2**4, 20)) < 0.5
    table = SubnetworkTable(all_masks(4), rng.random(values.shape), values)
    means, pairs = table.mean_values, np.flatnonzero(table.sizes == 2)
    masks = select_layers(rng.random((1, 4)))
    chosen = table.rows(masks[:, 2])[0]
    own = solution("ground_truth", "write-percentile")["my_percentile"](means[chosen], means[pairs[pairs != chosen]])
    grade = grade_selection(table, bootstrap_values(table, np.ones((1, 20))), masks)
    assert own == pytest.approx(grade.percentile[1, 0])

    def value(layers):
        row = table.rows(np.isin(np.arange(4), layers))
        return means[row], table.log_p[row].mean()

    path = solution("compression", "write-search")["my_search"](value, 4)
    assert [np.flatnonzero(table.masks[row]).tolist() for row in greedy_path(table)[::-1]] == [[*each] for each in path]

    # A product at each of twelve ranks: the right one is better than all but the first of them, and so on.
    scores = torch.arange(13, 0, -1.0).repeat(12, 1)
    batch = {"labels": torch.arange(1, 13), "seen": torch.zeros((12, 1), dtype=torch.long)}
    expected = recommender.ndcg(scores, batch).numpy()
    assert check_answer(solution("recommender", "write-ndcg")["my_ndcg"](np.arange(1, 13)), expected).startswith(
        "Right"
    )


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_saved_without_outputs(file):
    for cell in cells(file):
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell["id"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_figure_of_a_chapter_has_a_caption_a_name_and_an_alternative_text(file):
    for cell in cells(file):
        if cell["cell_type"] == "code" and "savefig" in "".join(cell["source"]):
            shown = cell["metadata"]["mystnb"]
            assert shown["figure"]["caption"] and shown["figure"]["name"] and len(shown["image"]["alt"]) > 40, cell[
                "id"
            ]


@pytest.mark.parametrize("file", [*NOTEBOOKS, *PAGES], ids=lambda file: file.stem)
def test_prose_contains_results_only_by_glue(file):
    prose = NOT_PROSE.sub(" ", read_prose(file))
    found = [match.group() for match in RESULT.finditer(prose)]
    given = GIVEN | GIVEN_ON.get(file.stem, set())
    assert [number for number in found if re.sub(r"\s?%", " %", number) not in given] == []


@pytest.mark.parametrize("file", [*NOTEBOOKS, *PAGES], ids=lambda file: file.stem)
def test_no_line_begins_with_a_percent_sign_because_that_makes_it_a_comment(file):
    assert not re.findall(r"^\s*%.*", re.sub(r"```.*?```", "", read_prose(file), flags=re.DOTALL), re.MULTILINE)


def test_a_typed_result_is_detected():
    for typed in (
        "reaches 91.4 % on the test",
        "a tau of 0.37",
        "loses 3 points",
        "twice, 2.1x faster",
        "took 12 minutes",
    ):
        assert RESULT.search(NOT_PROSE.sub(" ", typed)), typed
    for fine in ("{glue:text}`a::b:.1%`", "`ratios=[2.5]`", "$0.5 x$", "12 layers", "all 4,096 of them", "Python 3"):
        assert not RESULT.search(NOT_PROSE.sub(" ", fine)), fine


def test_every_reference_is_cited_and_there_are_enough_of_them():
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE))
    roles = re.findall(r"\{cite(?::\w)?\}`([^`]+)`", "\n".join(json.dumps(cells(file)) for file in NOTEBOOKS))
    roles += [role for file in PAGES for role in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", file.read_text())]
    cited = {key.strip() for role in roles for key in role.split(",")}
    assert cited == known and len(cited) >= 35
