"""Sentences that the recorded runs bear, in English and Chinese: a false one stops the build and is named."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import findings

from layerwise.study import findings as quantities
from layerwise.study.records import REFERENCE_STUDIES

ENGLISH, CHINESE = ROOT / "book", ROOT / "book" / "zh"
PAGES = sorted(file for file in ENGLISH.rglob("*.md") if findings.FINDING.search(file.read_text()))
TRANSLATIONS = sorted(CHINESE.glob("*.md"))
FALSE = """# A page

```{finding} len(graded()) < 3
There are only {measured}`len(graded())|d` graded runs.
```

```{finding} len(graded()) > 3
There are more than three graded runs.
```
"""


def name(file: Path) -> str:
    return file.relative_to(ENGLISH).with_suffix("").as_posix()


@pytest.fixture
def copied_results(tmp_path, monkeypatch):
    """A project that is nothing but a copy of the recorded runs, from which findings are read."""
    for study in REFERENCE_STUDIES:
        shutil.copytree(ROOT / "results" / study, tmp_path / "results" / study)
    (tmp_path / "Snakefile").touch()
    monkeypatch.chdir(tmp_path)
    quantities._studies.cache_clear()
    yield tmp_path / "results"
    quantities._studies.cache_clear()


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_every_finding_of_a_page_is_borne_by_the_recorded_runs(file):
    assert findings.find_false(file.read_text()) == []


def test_a_false_finding_is_named_with_its_numbers_and_its_condition():
    count = len(quantities.graded())
    assert findings.find_false(FALSE) == [f"There are only {count} graded runs. (len(graded()) < 3)"]


def test_a_recorded_number_that_changes_makes_the_sentences_that_need_it_false_and_no_other(copied_results):
    page = (ENGLISH / "answers.md").read_text()
    file = copied_results / "electronics" / "minilm" / "seed0" / "ground_truth.json"
    result = json.loads(file.read_text())
    result["summary"]["fisher"]["percentile"]["value"] = 0.55
    file.write_text(json.dumps(result))
    quantities._studies.cache_clear()
    [sentence] = findings.find_false(page)
    assert sentence.startswith("Do not carry a score from one model to another.") and "55%" in sentence


def test_findings_count_a_model_that_two_studies_trained_once_and_one_study_can_be_asked_alone():
    study = "electronics_compressed"
    assert len(quantities.gains("scratch")) == 5 + 3 and len(quantities.graded("scratch")) == 2 + 3 + 1
    assert not quantities.kept("scratch", 5, study=study) and quantities.kept("scratch", 5)
    for name, healed in (("best_subset", True), ("trained_from_scratch", False)):
        files = sorted((ROOT / "results" / study).glob("scratch/*/compression.json"))
        recorded = [
            each["retention"]["value"]
            for file in files
            for each in json.loads(file.read_text())["candidates"]
            if each["name"].replace("learned_anew", "trained_from_scratch") == name and each["healed"] == healed
        ]
        assert [each.value for each in quantities.kept("scratch", 3, healed, name, study)] == recorded
        assert len(recorded) == 2


def test_a_strict_build_fails_on_a_page_with_a_false_finding_and_its_warning_has_the_sentence(tmp_path):
    (tmp_path / "Snakefile").touch()
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "index.md").write_text(FALSE)
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'book/_ext')!r})"
    settings = "extensions = ['myst_parser', 'findings']; exclude_patterns = ['results']"
    (tmp_path / "conf.py").write_text(f"{path}; {settings}")
    done = run(tmp_path, sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", ".", "html")
    assert done.returncode != 0
    assert f"There are only {len(quantities.graded())} graded runs." in done.stderr
    assert done.stderr.count("WARNING") == 1 and "There are more than three" not in done.stderr


def described(page: str) -> list[tuple[str, list[str]]]:
    """The findings of a page without their words: the condition and the measured numbers of each."""
    found = findings.FINDING.finditer(page)
    return [(match["condition"], sorted(findings.MEASURED.findall(match["sentence"]))) for match in found]


@pytest.mark.parametrize("file", TRANSLATIONS, ids=name)
def test_a_chinese_page_has_the_findings_of_its_english_twin_with_the_same_conditions_and_numbers(file):
    assert described(file.read_text()) == described((ENGLISH / file.name).read_text())


@pytest.mark.parametrize("file", TRANSLATIONS, ids=name)
def test_a_chinese_page_and_its_english_twin_link_to_each_other(file):
    twin = (ENGLISH / file.name).read_text()
    assert f"{{doc}}`English <../{file.stem}>`" in file.read_text()
    assert f"<zh/{file.stem}>" in twin or f":link: zh/{file.stem}\n" in twin


def test_the_chinese_glossary_has_every_term_of_the_english_one():
    terms = re.findall(r"^(?![`#:{]|$)(\S.*)$", (ENGLISH / "glossary.md").read_text().split("```{glossary}")[1], re.M)
    assert re.findall(r"^\S.*\uff08(.+)\uff09$", (CHINESE / "glossary.md").read_text(), re.M) == terms


@pytest.mark.parametrize(("readme", "page"), [("README.md", "intro.md"), ("README.zh.md", "zh/intro.md")])
def test_the_readme_lists_the_findings_of_the_first_page_word_for_word(readme, page):
    found = [findings.quote(match["sentence"]) for match in findings.FINDING.finditer((ENGLISH / page).read_text())]
    sentences = [re.sub(r"\{doc\}`([^`<]+) <[^`]+>`", r"\1", each) for each in found]
    section = re.search(r"^<!-- findings -->\n(.*?)\n\n", (ROOT / readme).read_text(), re.M | re.S)[1]
    assert [" ".join(line.split()) for line in re.split(r"^- ", section, flags=re.M)[1:]] == sentences
