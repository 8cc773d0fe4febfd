"""The smoke profile from beginning to end: its results, its pages, what runs again, and what a bad input does."""

import ast
import copy
import csv
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ENVIRONMENT, ROOT, command, copy_project, execute, make_reviews, run, settings
from test_expert import KEY, Server, completion, reply
from transformers import AutoModelForSequenceClassification

from layerwise.adapter import LayerwiseAdapter
from layerwise.grading import BASELINES, SEARCH
from layerwise.importance import METHODS
from layerwise.ranking import FUSION_RULES
from layerwise.study.data import assets
from layerwise.study.stages import STAGES

RUN = Path("runs/smoke/scratch/seed0")
OF_A_RUN = [stage.name for stage in STAGES.values() if not stage.shared]
SHARED = [stage.name for stage in STAGES.values() if stage.shared]
RESULTS = [
    *(RUN / f"{name}.json" for name in OF_A_RUN),
    *(Path(f"runs/smoke/{name}.json") for name in SHARED if STAGES[name].computes),
]
EXECUTED = [file.with_suffix(".ipynb") for file in RESULTS]
EXECUTED += [Path(f"runs/smoke/{name}.ipynb") for name in SHARED if not STAGES[name].computes]
BOOK = {"page", "book"}


def with_pages(*stages: str) -> set[str]:
    """The rules that compute these stages and the comparison, and those that render and publish their pages."""
    computed = {*stages, "comparison"}
    return computed | {f"render_{name}" for name in (*computed, "appendix")} | BOOK


AFTER_CORE = ("advanced_importance", "fusion", "ground_truth", "compression", "frontier")


def timeless(file: Path) -> str:
    """A results file without when it was made, how long that took, and how fast models were."""
    result = json.loads(file.read_text())
    del result["provenance"]["finished"], result["provenance"]["seconds"]
    result.pop("timings", None)
    return json.dumps(result)


def planned(folder: Path, *params: str) -> set[str]:
    """The rules that the next call would run."""
    shown = run(folder, *command("--dry-run", "book", *settings(*params)))
    assert shown.returncode == 0, shown.stderr
    return {
        line.split()[1].rstrip(":")
        for line in (shown.stdout + shown.stderr).splitlines()
        if line.startswith(("rule ", "localrule "))
    }


def test_each_stage_saves_its_numbers_under_stable_keys(project):
    read = (json.loads((project / file).read_text()) for file in RESULTS)
    training, core, advanced, fusion, truth, compression, frontier, language_model, recommender, comparison = read
    assert set(training["test"]["accuracy"]) == {"value", "low", "high", "n"}
    assert training["data"]["splits"]["test"]["reviews"] == training["test"]["accuracy"]["n"]
    assert {**core["scores"], **advanced["scores"]}.keys() == METHODS.keys()
    for result in (core, advanced):
        for method, scores in result["scores"].items():
            assert len(scores) == 4
            for value, (low, high) in zip(scores, result["intervals"][method], strict=True):
                assert low <= value <= high
    assert truth["complete"] and truth["subsets"] == 16
    assert truth["grades"].keys() == METHODS.keys() | FUSION_RULES.keys() | {SEARCH, *BASELINES}
    assert fusion["scores"].keys() == fusion["kept"].keys() == FUSION_RULES.keys()
    assert fusion["expert"] is None and fusion["no_opinion"].startswith("No expert was asked: set OPENAI_API_KEY")
    assert language_model["layers_left"]["2.5"] == 0  # its words alone are more than that
    assert {each["ratio"] for each in language_model["pruned"]} == {1.35}
    assert len(language_model["block_influence"]) == 12
    for grades in truth["grades"].values():
        assert list(grades) == ["1", "2", "3"]
        assert all({"layers", "value", "regret", "percentile"} <= set(grade) for grade in grades.values())
    names = {(row["name"], row["ratio"], row["healed"]) for row in compression["candidates"]}
    everyone = METHODS.keys() | FUSION_RULES.keys() | {"first", "last", "even", "greedy", "best_subset", "random_5"}
    assert {(name, ratio, False) for name in everyone for ratio in (1.35, 2.5)} <= names
    assert {name for name, _, healed in names if healed} == {"best_subset", "first"}
    for row in compression["candidates"]:
        assert row["retention"]["low"] <= row["retention"]["value"] <= row["retention"]["high"]
    assert [budget["epochs"] for budget in frontier["budgets"]] == [0, 1] and frontier["subsets"] == 4
    assert sum(choice["random"] for choice in frontier["choices"]) == 2 <= len(frontier["choices"]) <= 4
    selected = {name for choice in frontier["choices"] for name in choice["names"]}
    assert selected == METHODS.keys() | FUSION_RULES.keys() | {"first", "last", "even", "best_subset", "worst_subset"}
    assert [row["model"] for row in comparison["rows"]] == ["scratch"]
    assert {row["name"] for row in comparison["compression"]} == {row["name"] for row in compression["candidates"]}
    assert {"popularity", "item_neighbours", "als", "transformer", "transformer_2.5x"} <= recommender["metrics"].keys()
    for metrics in recommender["metrics"].values():
        assert all(m["low"] <= m["value"] <= m["high"] and m["n"] == 100 for m in metrics.values())
    assert recommender["scores"].keys() == METHODS.keys() - {"fisher", "mutual_information"}
    assert recommender["truth"]["complete"] and recommender["truth"]["subsets"] == 16
    rows = {(row["name"], row["ratio"], row["healed"]) for row in recommender["candidates"]}
    assert {(name, ratio, True) for name in ("best_subset", "random_1") for ratio in (1.35, 2.5)} <= rows
    assert {"commit", "device", "versions", "parameters"} <= set(training["provenance"])


def test_the_pages_quote_the_numbers_of_the_results(project):
    training = json.loads((project / RESULTS[0]).read_text())
    for page in ("stages/training", "paper/introduction"):
        assert f"{training['test']['accuracy']['value']:.1%}" in (project / f"_build/html/book/{page}.html").read_text()
    assert (project / "_build/html/index.html").is_file()


def test_every_hidden_solution_was_run_and_shows_something(project):
    for file in EXECUTED:
        for cell in nbformat.read(project / file, 4).cells:
            # What a reader is to write is a function, which shows nothing; the cell after it checks and shows it.
            if "hide-cell" in cell.metadata.get("tags", []) and not cell.id.startswith("write-"):
                assert cell.outputs and not [o for o in cell.outputs if o.output_type == "error"], cell.source


def test_the_report_is_written_as_markdown_with_its_figures_beside_it(project):
    report = (project / "runs/smoke/comparison.md").read_text()
    figures = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert len(figures) == 2 and all((project / "runs/smoke" / figure).is_file() for figure in figures)
    claims = json.loads((project / "runs/smoke/comparison.json").read_text())["claims"]
    assert {each["study"] for each in claims} >= {"this build", "electronics"}
    for each in claims:
        assert f"{each['value']:.1%}" in report and each["low"] <= each["value"] <= each["high"]


def test_no_output_names_a_folder_of_the_machine_or_keeps_a_progress_bar(project):
    notebooks = [project / file for file in EXECUTED]
    for file in [*notebooks, *(project / file for file in RESULTS)]:
        text = file.read_text()
        for unwanted in ("pytest-of-", str(ROOT), str(Path.home()), "%|", "Warning"):
            assert unwanted not in text, f"{unwanted} in {file.name}"
    for file in notebooks:
        for cell in nbformat.read(file, 4).cells:
            assert not any(output.get("name") == "stderr" for output in cell.get("outputs", []))


@pytest.mark.parametrize(
    "notebooks", [EXECUTED[: len(OF_A_RUN)], EXECUTED[len(OF_A_RUN) :]], ids=["of_a_run", "of_all"]
)
def test_the_executed_notebooks_give_the_same_outputs_and_results_when_run_again(project, tmp_path, notebooks):
    again = shutil.copytree(project, tmp_path / "project")  # running them writes their results again
    shutil.rmtree(again / RUN / "export")  # but for what left the book, which nothing overwrites
    sanitizer = str(ROOT / "tests" / "nbval.cfg")
    # a cell needs the ones before it
    options = ["--numprocesses=0", "-p", "no:cacheprovider", "--nbval-kernel-name=warm"]
    provenance = json.loads((project / notebooks[0].with_suffix(".json")).read_text())["provenance"]
    threads = f"OMP_NUM_THREADS={provenance['threads']}"  # how many there are changes the last digits
    words = ["pytest", "--nbval", "--nbval-sanitize-with", sanitizer, *options, *map(str, notebooks)]
    done = run(again, "env", threads, *words)
    assert done.returncode == 0, done.stdout[-3000:]
    for file in (file for file in RESULTS if file.with_suffix(".ipynb") in notebooks):
        assert (again / file).stat().st_mtime_ns > (project / file).stat().st_mtime_ns
        assert timeless(again / file) == timeless(project / file), file


ELSEWHERE = """
import json, sys
import numpy as np, onnxruntime, pandas as pd, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, reviews = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
rows = pd.read_parquet(reviews)
inputs = tokenizer(list(rows["text"]), truncation=True, padding=True, return_tensors="pt")
inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
with torch.no_grad():
    logits = {"pytorch": model(**inputs).logits.numpy()}
for name, file in (("onnx", "model.onnx"), ("onnx_int8", "model_int8.onnx")):
    session = onnxruntime.InferenceSession(f"{folder}/onnx/{file}")
    logits[name] = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
assert "layerwise" not in sys.modules
print(json.dumps({name: float(np.mean(found.argmax(1) == rows["label"])) for name, found in logits.items()}))
"""


@pytest.mark.parametrize("ratio", ["1x", "2.5x"])
def test_what_was_exported_has_the_recorded_accuracy_in_a_process_without_the_project(project, ratio):
    exported = json.loads((project / RUN / "compression.json").read_text())["exported"]
    metrics = next(each["metrics"] for each in exported if each["folder"] == ratio)
    folder, reviews = project / RUN / "export" / ratio, project / "runs/smoke/reviews/test.parquet"
    done = run(folder, sys.executable, "-c", ELSEWHERE, str(folder), str(reviews))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for runtime in ("pytorch", "onnx"):
        assert found[runtime] == pytest.approx(metrics[runtime]["accuracy"]["value"], abs=1e-9), runtime
    # in 8 bits activations are rounded batch by batch, so that other batches round otherwise
    assert found["onnx_int8"] == pytest.approx(metrics["onnx_int8"]["accuracy"]["value"], abs=0.03)
    assert f"{metrics['pytorch']['accuracy']['value']:.1%}" in (folder / "README.md").read_text()


def test_an_exported_model_is_not_overwritten(project, tmp_path):
    again = shutil.copytree(project, tmp_path / "project")
    before = {file: file.stat().st_mtime_ns for file in (again / RUN / "export").rglob("*")}
    words = ["papermill", "notebooks/compression.ipynb", "out.ipynb", "--no-progress-bar", "-p", "profile", "smoke"]
    done = run(again, *words)
    assert done.returncode != 0 and "the folder export exists in" in done.stderr
    assert {file: file.stat().st_mtime_ns for file in (again / RUN / "export").rglob("*")} == before


def outputs(folder: Path) -> dict[Path, str]:
    """Everything that was written for readers: notebooks, results, records, logs and pages."""
    files = [*(folder / "runs").rglob("*"), *(folder / "_build" / "html").rglob("*.html")]
    wanted = {".ipynb", ".json", ".log", ".html", ".md"}
    return {
        file: html.unescape(file.read_text()) for file in files if file.suffix in wanted and "arrow" not in file.parts
    }


def test_no_output_holds_the_text_of_a_review(project):
    texts = pd.concat(pd.read_parquet(file) for file in (project / "runs/smoke/reviews").glob("*.parquet"))["text"]
    long = [text for text in texts if len(text) > 25]
    assert len(long) > 300
    written = outputs(project)
    assert len(written) > 20
    for file, content in written.items():
        assert not [text for text in long if text in content], file


def test_an_expert_that_fails_changes_nothing_else_and_one_that_answers_is_graded(project, tmp_path, monkeypatch):
    again = shutil.copytree(project, tmp_path / "project")
    alone = json.loads((project / RUN / "fusion.json").read_text())
    server = Server((401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    address = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1"}

    def run_stage(stage: str, *words: str) -> tuple[dict, str]:
        notebook = str(RUN / f"{stage}.ipynb")
        done = subprocess.run(
            execute(
                f"notebooks/{stage}.ipynb", notebook, "-p", "profile", "smoke", "-y", "ratios: [1.35, 2.5]", *words
            ),
            cwd=again,
            env=ENVIRONMENT | address,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads((again / RUN / f"{stage}.json").read_text()), (again / notebook).read_text()

    result, page = run_stage("fusion", "-p", "expert_model", "gpt-4o")
    said = "The expert gave no opinion: the server refused the key (401)"
    assert result["expert"] is None and result["no_opinion"].startswith(said) and said in page
    assert result["scores"] == alone["scores"] and result["kept"] == alone["kept"]

    server.script[:] = [(200, completion(reply([2, 1, 4, 3]))), (200, completion(reply([1, 2, 3, 4])))]
    result, page = run_stage("fusion", "-p", "expert_model", "gpt-4o")
    assert result["expert"]["ranks"] == [[2, 1, 4, 3], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert "Kendall's tau between two" in page
    assert result["scores"].keys() == {*FUSION_RULES, *(f"{rule}_with_expert" for rule in FUSION_RULES)}
    truth, page = run_stage("ground_truth")
    assert truth["grades"]["expert"]["1"]["layers"] == [0] and ">expert<" in page

    texts = pd.read_parquet(project / "runs/smoke/reviews/analysis.parquet")["text"]
    assert not [text for text in texts if text in json.dumps(server.requests)]
    for file, content in outputs(again).items():
        assert KEY not in content and "127.0.0.1" not in content, file


def test_a_second_call_has_nothing_to_do(project):
    assert planned(project) == set()


def test_changed_code_of_a_notebook_computes_its_stage_again_and_later_ones_and_changed_prose_runs_nothing(project):
    changed = project / "notebooks" / "core_importance.ipynb"
    before = changed.read_text()
    try:
        changed.write_text(before.replace("from layerwise.adapter import", "from layerwise.adapter  import"))
        assert planned(project) == with_pages("core_importance", *AFTER_CORE)
        changed.write_text(before.replace("# Core importance", "# The core of importance", 1))
        assert planned(project) == {"page", "book"}
    finally:
        changed.write_text(before)


def test_a_changed_colour_of_a_figure_renders_the_pages_again_and_computes_nothing(project):
    figures = project / "lib/layerwise/report/figures.py"
    stat, before = figures.stat(), figures.read_text()
    try:
        figures.write_text(before.replace('"colorblind"', '"deep"'))
        assert planned(project) == {f"render_{name}" for name in STAGES} | {"figure"} | BOOK
    finally:
        figures.write_text(before)
        os.utime(figures, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_changed_method_is_scored_again_and_trains_no_model_again(project):
    method = project / "lib/layerwise/importance/patching.py"
    stat, before = method.stat(), method.read_text()
    try:
        method.write_text(before + "\n")
        assert planned(project) == with_pages("core_importance", "recommender", *AFTER_CORE)
    finally:
        method.write_text(before)
        os.utime(method, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_changed_recorded_run_is_shown_and_only_the_comparison_is_computed_again(project):
    file = next((project / "results/movielens").glob("*recommender.json"))
    before = file.read_text()
    try:
        file.write_text(before + "\n")
        assert planned(project) == with_pages() | {"render_recorded_runs", "figure"}
    finally:
        file.write_text(before)


def test_a_page_has_the_prose_of_now_and_the_outputs_of_the_last_run(project):
    source, ran, page = (project / name / "ground_truth.ipynb" for name in ("notebooks", str(RUN), "book/stages"))
    changed = source.with_name("changed.ipynb")
    merge = (sys.executable, "book/pages.py", "merge", str(changed), str(ran), "page.ipynb")
    changed.write_text(source.read_text().replace("# ", "# Again: ", 1))
    assert run(project, *merge).returncode == 0
    again, before, executed = (nbformat.read(file, as_version=4).cells for file in (project / "page.ipynb", page, ran))
    assert again[0].source == before[0].source.replace("# ", "# Again: ", 1) and again[1:] == before[1:]
    assert [cell.get("outputs") for cell in again] == [cell.get("outputs") for cell in executed]

    changed.write_text(source.read_text().replace("import numpy as np", "import numpy", 1))
    refused = run(project, *merge)
    assert "has changed since" in refused.stderr and refused.returncode != 0
    changed.unlink()


def test_a_changed_parameter_runs_the_stages_that_declare_it(project):
    assert planned(project, "bootstrap_samples=300") == with_pages(
        "training", "core_importance", "language_model", "recommender", *AFTER_CORE
    )
    assert planned(project, "analysis_reviews=20") == with_pages("core_importance", *AFTER_CORE)
    assert planned(project, "selection_reviews=20") == with_pages("ground_truth", "compression", "frontier")
    assert planned(project, "heal_epochs=2") == with_pages("compression") | {"render_frontier"}
    assert planned(project, "frontier_seeds=3") == {"frontier", "render_frontier"} | BOOK
    of_recommender = {"recommender", "render_recommender", "render_comparison", "render_appendix"} | BOOK
    assert planned(project, "recommender_epochs=1") == of_recommender
    assert planned(project, "expert_model=gpt-4o") == with_pages("fusion", "ground_truth", "compression", "frontier")


def test_a_killed_run_resumes_to_the_same_results(project, tmp_path):
    again = copy_project(tmp_path)
    words = command("--quiet=all", str(RESULTS[1]), *settings())
    process = subprocess.Popen(words, cwd=again, env=ENVIRONMENT, start_new_session=True)
    deadline = time.monotonic() + 300
    second = again / RUN / "core_importance.log"
    while not second.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(0.5)  # into the second stage
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (again / RESULTS[0]).is_file() and not (again / RESULTS[1]).is_file()
    trained = (again / RESULTS[0]).stat().st_mtime_ns

    done = run(again, *words)
    assert done.returncode == 0, done.stderr
    assert (again / RESULTS[0]).stat().st_mtime_ns == trained
    for file in RESULTS[:2]:
        assert timeless(again / file) == timeless(project / file), file


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("hiden_size=3", "InputError: unknown parameter 'hiden_size', did you mean 'hidden_size'?"),
        ("source=nowhere.csv", "InputError: there is no file 'nowhere.csv'; source is embedded, hub, or"),
        ("pretraining_texts=tests/nbval.cfg", "InputError: cannot tell what nbval.cfg is: its name should end in"),
        ("pretraining_texts=nowhere.csv", "InputError: there is no file 'nowhere.csv'; pretraining_texts is null, or"),
        ("source=tests/conftest.py", "InputError: cannot tell what conftest.py is"),
        ("ratios=[0.5]", "InputError: parameter 'ratios.0': input should be greater than 1, not 0.5"),
        ("interactions=nowhere.csv", "InputError: there is no file 'nowhere.csv'; interactions is movielens, hub, or"),
        ("reviews=9000", "InputError: 9,000 reviews were asked for and"),
        ("base_model=./no-model", "InputError: cannot load the model './no-model' as a sequence classifier"),
    ],
)
def test_a_bad_input_ends_the_workflow_in_one_sentence_and_loses_nothing(project, params, sentence):
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in (project / name for name in RESULTS)}
    done = run(project, *command("book", "--quiet=all", *settings(params)))
    assert done.returncode != 0
    assert (done.stdout + done.stderr).strip().splitlines()[-1].startswith(sentence)
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in before} == before


def own_reviews(file: Path) -> None:
    """Real reviews in the layout of the chapter on the reader's own data: other columns, labels in words."""
    if given := os.environ.get("LAYERWISE_REVIEWS"):
        reviews = pd.read_parquet(given).sample(600, random_state=0)
        bad, shop, text = reviews["rating"] < 3, reviews["parent_asin"], reviews["text"]
    else:
        names = ["id", "score", "text"]
        rated = pd.read_csv(assets.amazon_sentences(), sep="\t", names=names, quoting=csv.QUOTE_NONE)
        rated = rated[rated["score"].abs() > 1].sample(600, random_state=0)
        bad, shop, text = rated["score"] < 0, rated["id"].str.split("_").str[0], rated["text"]
    frame = pd.DataFrame({"shop": shop, "sentiment": bad.map({True: "bad", False: "good"}), "review_body": text})
    frame.to_csv(file, sep=";", index=False)


@pytest.mark.slow
def test_the_chapter_on_one_s_own_data_leads_from_a_csv_to_a_compressed_model_as_it_is_written(tmp_path):
    again = copy_project(tmp_path)
    own_reviews(again / "reviews.csv")
    chapter = (again / "book/own.md").read_text()
    asked = re.search(r'make book PARAMS="(source=reviews.csv [^"]+text_column=[^"]+)"', chapter)[1].replace("\\\n", "")
    target = re.search(r"-- (runs/quick/\S+compression.json)", chapter)[1].replace("quick", "smoke")
    pd.read_csv(again / "reviews.csv", sep=";")[["shop", "review_body"]].to_csv(again / "texts.csv")  # nobody rated
    done = run(again, *command("--quiet=all", target, *settings(asked, "reviews=null", "pretraining_texts=texts.csv")))
    assert done.returncode == 0, done.stderr
    trained = json.loads((again / target).with_name("training.json").read_text())
    splits = {name: split["reviews"] for name, split in trained["data"]["splits"].items()}
    assert trained["pretraining"]["texts"] == splits["train"]
    assert trained["provenance"]["parameters"]["pretraining_texts"] == "texts.csv"
    found = json.loads((again / target).read_text())
    quality = json.loads((again / "runs/smoke/reviews/quality.json").read_text())
    assert quality["ratings"].keys() == {"bad", "good"} and quality["products"] > 10
    assert {row["ratio"] for row in found["candidates"] if row["healed"]} == {2.5}

    (classify,) = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    done = run(again, sys.executable, "-c", classify.replace("quick", "smoke"))
    assert done.returncode == 0, done.stderr
    answers = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert len(answers) == 2 and all(answer["label"] in ("negative", "positive") for answer in answers)
    assert (again / "runs/smoke/scratch/seed0/export/2.5x/onnx/model_int8.onnx").is_file()


def test_a_changed_source_trains_again(project):
    make_reviews().to_csv(project / "mine.csv")
    assert planned(project, "source=mine.csv", "reviews=null") >= {"training", "core_importance", "book"}
    assert planned(project, "pretraining_texts=mine.csv") == with_pages("training", "core_importance", *AFTER_CORE)


def test_a_runs_folder_that_cannot_be_written_is_named(project):
    (project / "blocked").write_text("a file where a folder should be")
    done = run(project, *command("book", "--quiet=all", *settings("runs=blocked")))
    assert done.returncode != 0
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    assert last.startswith("InputError: cannot write to") and "blocked" in last


def test_a_notebook_alone_refuses_a_misspelt_parameter_and_a_stage_that_was_not_run(project):
    def last_line(notebook, *parameters):
        done = run(project, *execute(f"notebooks/{notebook}.ipynb", "out.ipynb", *parameters))
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]

    assert last_line("training", "-p", "hiden_size", "3").startswith("InputError: unknown parameter 'hiden_size'")
    expected = "InputError: there is no training.json in"
    assert last_line("core_importance", "-p", "profile", "mine").startswith(expected)


def test_a_model_deeper_than_the_table_allows_is_sampled_and_the_page_says_so(project, tmp_path):
    again = shutil.copytree(project, tmp_path / "project")
    adapter = LayerwiseAdapter(AutoModelForSequenceClassification.from_pretrained(again / RUN / "model"))
    twice = [*adapter.layers, *copy.deepcopy(adapter.layers)]
    adapter.restack(twice, [0, 1, 2, 3] * 2).save_pretrained(again / RUN / "model")
    for stage in ("core_importance", "advanced_importance"):
        with np.load(again / RUN / f"{stage}.npz") as scores:
            deeper = {name: np.tile(each, 2) if each.ndim == 2 else each for name, each in scores.items()}
        np.savez(again / RUN / f"{stage}.npz", **deeper)
    words = ("-p", "profile", "smoke", "-p", "exhaustive_layers", "7", "-p", "permutations", "1")
    done = run(again, *execute("notebooks/ground_truth.ipynb", "5.ipynb", *words))
    assert done.returncode == 0, done.stderr
    truth = json.loads((again / RUN / "ground_truth.json").read_text())
    assert not truth["complete"] and truth["interactions"] is None and truth["subsets"] < 256
    assert "a sample" in (again / "5.ipynb").read_text()
