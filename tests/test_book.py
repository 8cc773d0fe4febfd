"""The chapters as lessons: their structure, and that their prose contains no result that no run measured."""

import json
import re

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [file for file in NOTEBOOKS if file.stem != "appendix"]  # which has tables alone
ANSWERS = {"comparison", "recorded_runs"}  # pages of results, with fewer exercises than the lessons before them
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


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_a_chapter_opens_with_its_aims_asks_for_predictions_and_ends_with_the_reader_s_own_data(file):
    text = read_prose(file)
    places = [
        text.index(part)
        for part in ("What you will learn", "**Predict:**", "## Exercises", "## Change this for your own data")
    ]
    assert places == sorted(places) and text.count("**Predict:**") >= 2
    assert "make book PARAMS=" in text[places[-1] :] or "papermill" in text[places[-1] :]


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_every_exercise_is_followed_by_its_hidden_solution(file):
    found = []
    for cell, after in zip(cells(file), cells(file)[1:], strict=False):
        numbers = re.findall(r"^\*\*(\d+)\.\*\*", "".join(cell["source"]), re.MULTILINE)
        if cell["cell_type"] == "markdown" and numbers:
            assert len(numbers) == 1 and after["cell_type"] == "code", numbers
            assert "hide-cell" in after["metadata"]["tags"], numbers
            found += numbers
    assert found == [str(number) for number in range(1, len(found) + 1)]
    assert len(found) >= (2 if file.stem in ANSWERS else 3)


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
