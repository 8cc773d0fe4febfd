"""The chapters as lessons: their structure, and that their prose contains no result that no run measured."""

import itertools
import json
import re

import numpy as np
import pytest
from conftest import ROOT

from layerwise import importance

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


# Exercises that have the reader write a function: each has a solution, and a check that runs whatever was defined last.
WRITTEN = [file for file in NOTEBOOKS if any(cell["id"].startswith("check-") for cell in cells(file))]


def run_exercise(file, namespace: dict) -> dict:
    """Run the solution of the chapter's written exercise, and return the namespace that its check reads."""
    for cell in cells(file):
        if cell["id"].startswith("write-"):
            exec("".join(cell["source"]), namespace)
    return namespace


def run_check(file, namespace: dict, capsys) -> str:
    """What the check of the chapter's written exercise prints."""
    capsys.readouterr()
    for cell in cells(file):
        if cell["id"].startswith("check-"):
            exec("".join(cell["source"]), namespace)
    return capsys.readouterr().out


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
def test_the_check_of_a_written_exercise_accepts_the_solution_and_refuses_its_opposite(file, capsys):
    namespace = run_exercise(file, {"np": np, "importance": importance})
    assert run_check(file, namespace, capsys).startswith("Right: ")
    (name,) = re.findall(r"^def (\w+)\(", read_prose(file), re.MULTILINE)
    solution = namespace[name]
    namespace[name] = lambda *arguments: 1 - np.asarray(solution(*arguments), dtype=float)
    assert run_check(file, namespace, capsys).startswith("Not yet: ")


def test_a_known_mistake_in_a_written_exercise_is_named(capsys):
    (file,) = (file for file in WRITTEN if file.stem == "language_model")
    namespace = run_exercise(file, {"np": np})
    solution = namespace["my_block_influence"]
    namespace["my_block_influence"] = lambda states, real: solution(states, np.ones_like(real))
    assert run_check(file, namespace, capsys) == "Not yet: padding is no token of the text.\n"


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
def test_a_chapter_opens_with_its_answer_what_it_needs_and_how_long_it_takes(file):
    opening = "".join(cells(file)[0]["source"])
    head = opening[opening.index(":class: chapter-head") : opening.rindex(":::")]
    parts = [head.index(part) for part in ("**Answer:**", "**Needs:**", "**Before it:**", "**Takes:**")]
    assert parts == sorted(parts) and "{glue:text}`stage-minutes:.1f` minutes" in head
    assert "{glue:text}`" in head[: parts[1]]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
def test_what_the_reader_is_to_predict_is_hidden_until_a_click(file):
    found = cells(file)
    asked = [i for i, cell in enumerate(found) if "**Predict:**" in "".join(cell["source"])]
    shown = [next(cell for cell in found[i + 1 :] if cell["cell_type"] == "code") for i in asked]
    assert len(shown) >= 2 and all("hide-output" in cell["metadata"]["tags"] for cell in shown)


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.stem)
def test_every_exercise_has_a_written_answer_after_its_solution(file):
    texts = ["".join(cell["source"]) for cell in cells(file)]
    starts = [i for i, text in enumerate(texts) if re.match(r"(?:## Exercises\s+)?\*\*\d+\.\*\*", text)]
    end = next(i for i, text in enumerate(texts) if text.startswith("## Change this for your own data"))
    for start, stop in itertools.pairwise([*starts, end]):
        answers = [text for text in texts[start:stop] if text.startswith(":::{admonition} Answer\n:class: dropdown\n")]
        assert len(answers) == 1 and len(answers[0].split()) > 25, texts[start]
