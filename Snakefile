"""The workflow, one rule a stage: what must run again is found from the notebooks, the modules that they import, the
parameters that they declare and the artefacts of the stages before.

    snakemake --cores all --config profile=quick params="seed=1 hidden_size=256"
"""

import ast
import hashlib
import json
import os
import sys
import time
from functools import cache
from pathlib import Path

import yaml
from papermill import inspect_notebook

from layerwise import interactions
from layerwise.errors import InputError
from layerwise.parameters import load_profile
from layerwise.reviews import prepare, unlabelled

# Stages call programs of the environment that this runs in, whether or not the shell knows it.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

try:
    SHARED, RUNS = load_profile(config.get("profile", "quick"), config.get("params") or "")
    for folder in (SHARED.profile_dir, Path("_build"), Path("book/stages")):
        folder.mkdir(parents=True, exist_ok=True)
    # Once for all subjects and seeds, and before any of them: data that cannot be used must not touch what was made.
    prepare(SHARED)
    interactions.prepare(SHARED)
    for run in RUNS:
        if run.warm_up:
            unlabelled(run)
except InputError as error:
    raise SystemExit(f"InputError: {error}")
except OSError as error:
    raise SystemExit(f"InputError: cannot write to {error.filename}: {error.strerror}")

STAGES = [
    "1_training",
    "2_core_importance",
    "3_advanced_importance",
    "4_llm_and_fusion",
    "5_ground_truth",
    "6_compression",
]
ONCE = ["4_llama", "7_recommender", "8_comparison", "9_reference"]  # for all subjects and seeds
RECORDED = sorted(map(str, Path("results").rglob("*.json")))
ROOT = Path(SHARED.runs) / SHARED.profile
RUN = f"{ROOT}/{{subject}}/seed{{seed}}"
FIRST = f"{ROOT}/{SHARED.subject}/seed{SHARED.seed}"
# An expert is asked once there is a key, and anew each time that the workflow is started if the parameters say so.
EXPERT = SHARED.expert_model and [bool(os.environ.get("OPENAI_API_KEY")), SHARED.expert_anew and time.time()]
# Runs share the cores among them: several small models train faster side by side than one after the other.
THREADS = max(1, workflow.cores // len(RUNS))


def run_of(wildcards):
    """The run of a subject and a seed."""
    return next(run for run in RUNS if (run.subject, str(run.seed)) == (*wildcards,))


def parameters(notebook, run=SHARED):
    """The parameters of a run that a notebook declares, as papermill takes them; its other parameters do not concern it."""
    said = run.model_dump(include=set(inspect_notebook(f"notebooks/{notebook}.ipynb")))
    return yaml.safe_dump(said, default_flow_style=True, width=float("inf"))


def code(notebook):
    """The code of a notebook."""
    cells = json.loads(Path(notebook).read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def code_sha256(notebook):
    """What a run depends on instead of on the notebook's file: a change of prose needs no new run."""
    return hashlib.sha256(code(notebook).encode()).hexdigest()


@cache
def imported(file):
    """The modules of lib that a notebook or module names in its imports."""
    text = code(file) if file.suffix == ".ipynb" else file.read_text()
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "layerwise":
            for name in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]:
                path = Path("lib", *name.split("."))
                found |= {p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()}
    return found


def modules(source):
    """The modules of lib that a notebook or module imports, directly or through one another."""
    found, waiting = set(), {Path(source)}
    while waiting:
        new = imported(waiting.pop()) - found
        found |= new
        waiting |= new
    return sorted(map(str, found))


# A stage keeps its log. Where it fails, the last line is the error, and the last that the reader sees.
EXECUTE = """
printf '%s\\n' '{output.notebook}'
papermill {input.notebook} {output.notebook} --kernel python3 --parameters_yaml {params.parameters:q} \
    --no-progress-bar --no-request-save-on-cell-execute 2> {log} ||
    {{ printf '%s\\n' 'failed; all of it is in {log}' "$(grep . {log} | tail -n 1)" >&2; exit 1; }}
"""


rule book:
    input:
        "_config.yml",
        "_toc.yml",
        [str(f) for f in Path("book").rglob("*") if f.is_file() and not {"stages", "__pycache__"} & {*f.parts}],
        expand("book/stages/{page}.ipynb", page=[*STAGES, *ONCE]),
        "book/stages/depths.png",
    output: "_build/html/index.html"
    log: "_build/build.log"
    shell:
        """
        printf '%s\\n' '{rule}: {output}'
        LAYERWISE_BUILT={ROOT}/8_comparison.json jupyter-book build . -W -n --keep-going > {log} 2>&1 ||
            {{ grep -E 'WARNING|ERROR' {log} >&2 || true
               printf '%s\\n' 'the book does not build without warnings; all of it is in {log}' >&2; exit 1; }}
        """


rule page:
    """A chapter is a stage of the first subject and seed, or one that there is for all of them."""
    input:
        "notebooks/{page}.ipynb",
        lambda wildcards: f"{FIRST if wildcards.page in STAGES else ROOT}/{wildcards.page}.ipynb",
    output: "book/stages/{page}.ipynb"
    shell: "python book/page.py {input} {output}"


rule main_figure:
    """The figure of the first page."""
    input: f"{ROOT}/8_comparison_depths.png"
    output: "book/stages/depths.png"
    shell: "cp {input} {output}"


rule training:
    input:
        modules("notebooks/1_training.ipynb"),
        f"{ROOT}/reviews/quality.json",
        lambda wildcards: [f"{RUN}/unlabelled/quality.json".format(**wildcards)] if run_of(wildcards).warm_up else [],
        notebook=ancient("notebooks/1_training.ipynb"),
    output:
        notebook=f"{RUN}/1_training.ipynb",
        result=f"{RUN}/1_training.json",
        model=directory(f"{RUN}/model"),
    params:
        code=code_sha256("notebooks/1_training.ipynb"),
        parameters=lambda wildcards: parameters("1_training", run_of(wildcards)),
    log: f"{RUN}/1_training.log"
    threads: THREADS
    shell: EXECUTE


rule core_importance:
    input:
        modules("notebooks/2_core_importance.ipynb"),
        rules.training.output,
        notebook=ancient("notebooks/2_core_importance.ipynb"),
    output:
        notebook=f"{RUN}/2_core_importance.ipynb",
        result=f"{RUN}/2_core_importance.json",
        scores=f"{RUN}/2_core_importance.npz",
    params:
        code=code_sha256("notebooks/2_core_importance.ipynb"),
        parameters=lambda wildcards: parameters("2_core_importance", run_of(wildcards)),
    log: f"{RUN}/2_core_importance.log"
    threads: THREADS
    shell: EXECUTE


rule advanced_importance:
    input:
        modules("notebooks/3_advanced_importance.ipynb"),
        rules.training.output,
        rules.core_importance.output,
        notebook=ancient("notebooks/3_advanced_importance.ipynb"),
    output:
        notebook=f"{RUN}/3_advanced_importance.ipynb",
        result=f"{RUN}/3_advanced_importance.json",
        scores=f"{RUN}/3_advanced_importance.npz",
    params:
        code=code_sha256("notebooks/3_advanced_importance.ipynb"),
        parameters=lambda wildcards: parameters("3_advanced_importance", run_of(wildcards)),
    log: f"{RUN}/3_advanced_importance.log"
    threads: THREADS
    shell: EXECUTE


rule language_model:
    input:
        modules("notebooks/4_llama.ipynb"),
        f"{ROOT}/reviews/quality.json",
        notebook=ancient("notebooks/4_llama.ipynb"),
    output:
        notebook=f"{ROOT}/4_llama.ipynb",
        result=f"{ROOT}/4_llama.json",
    params:
        code=code_sha256("notebooks/4_llama.ipynb"),
        parameters=parameters("4_llama"),
    log: f"{ROOT}/4_llama.log"
    threads: workflow.cores  # it runs once, so it need not share them
    shell: EXECUTE


rule fusion:
    input:
        modules("notebooks/4_llm_and_fusion.ipynb"),
        rules.training.output,
        rules.core_importance.output,
        rules.advanced_importance.output,
        rules.language_model.output,
        notebook=ancient("notebooks/4_llm_and_fusion.ipynb"),
    output:
        notebook=f"{RUN}/4_llm_and_fusion.ipynb",
        result=f"{RUN}/4_llm_and_fusion.json",
    params:
        code=code_sha256("notebooks/4_llm_and_fusion.ipynb"),
        parameters=lambda wildcards: parameters("4_llm_and_fusion", run_of(wildcards)),
        expert=EXPERT,
    log: f"{RUN}/4_llm_and_fusion.log"
    threads: THREADS
    shell: EXECUTE


rule ground_truth:
    input:
        modules("notebooks/5_ground_truth.ipynb"),
        rules.training.output,
        rules.core_importance.output,
        rules.advanced_importance.output,
        rules.fusion.output,
        notebook=ancient("notebooks/5_ground_truth.ipynb"),
    output:
        notebook=f"{RUN}/5_ground_truth.ipynb",
        result=f"{RUN}/5_ground_truth.json",
        table=f"{RUN}/5_ground_truth.npz",
    params:
        code=code_sha256("notebooks/5_ground_truth.ipynb"),
        parameters=lambda wildcards: parameters("5_ground_truth", run_of(wildcards)),
    log: f"{RUN}/5_ground_truth.log"
    threads: THREADS
    shell: EXECUTE


rule compression:
    input:
        modules("notebooks/6_compression.ipynb"),
        rules.training.output,
        rules.core_importance.output,
        rules.advanced_importance.output,
        rules.fusion.output,
        rules.ground_truth.output,
        notebook=ancient("notebooks/6_compression.ipynb"),
    output:
        notebook=f"{RUN}/6_compression.ipynb",
        result=f"{RUN}/6_compression.json",
        predictions=f"{RUN}/6_compression.npz",
        export=directory(f"{RUN}/export"),
    params:
        code=code_sha256("notebooks/6_compression.ipynb"),
        parameters=lambda wildcards: parameters("6_compression", run_of(wildcards)),
    log: f"{RUN}/6_compression.log"
    threads: THREADS
    shell: EXECUTE


rule recommender:
    input:
        modules("notebooks/7_recommender.ipynb"),
        f"{ROOT}/interactions/quality.json",
        notebook=ancient("notebooks/7_recommender.ipynb"),
    output:
        notebook=f"{ROOT}/7_recommender.ipynb",
        result=f"{ROOT}/7_recommender.json",
        arrays=f"{ROOT}/7_recommender.npz",
        models=directory(f"{ROOT}/recommender/models"),
    params:
        code=code_sha256("notebooks/7_recommender.ipynb"),
        parameters=parameters("7_recommender"),
    log: f"{ROOT}/7_recommender.log"
    threads: workflow.cores  # it runs once, so it need not share them
    shell: EXECUTE


rule comparison:
    input:
        modules("notebooks/8_comparison.ipynb"),
        [f"{ROOT}/{run.subject}/seed{run.seed}/{stage}.json" for run in RUNS for stage in STAGES],
        f"{ROOT}/7_recommender.json",
        RECORDED,
        notebook=ancient("notebooks/8_comparison.ipynb"),
    output:
        notebook=f"{ROOT}/8_comparison.ipynb",
        result=f"{ROOT}/8_comparison.json",
        report=f"{ROOT}/8_comparison.md",
        depths=f"{ROOT}/8_comparison_depths.png",
    params:
        code=code_sha256("notebooks/8_comparison.ipynb"),
        parameters=parameters("8_comparison"),
    log: f"{ROOT}/8_comparison.log"
    threads: THREADS
    shell: EXECUTE


rule reference:
    input:
        modules("notebooks/9_reference.ipynb"),
        RECORDED,
        notebook=ancient("notebooks/9_reference.ipynb"),
    output:
        notebook=f"{ROOT}/9_reference.ipynb",
    params:
        code=code_sha256("notebooks/9_reference.ipynb"),
        parameters=parameters("9_reference"),
    log: f"{ROOT}/9_reference.log"
    shell: EXECUTE
