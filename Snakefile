"""The workflow: a table of stages (`layerwise.study.stages`), each computed and rendered by its notebook.

    snakemake --cores all --config profile=quick params="seed=1 hidden_size=256"

What must run again follows from the notebooks, the modules that they import, the parameters that they declare and the
results of earlier stages. A stage is computed from the modules that compute it. Its page is rendered from its results by
`layerwise.report`, so a change of a figure or of a sentence computes nothing.
"""

import ast
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, "book")
from layerwise.study.config import silence_libraries

# Notebooks start with their libraries in memory: a server has imported them, and ends with this process.
silence_libraries()
if sys.platform == "linux" and not workflow.dryrun and "LAYERWISE_WARM" not in os.environ:
    os.environ["LAYERWISE_WARM"] = f"{tempfile.mkdtemp(prefix='layerwise-')}/socket"
    WARM = subprocess.Popen(
        [sys.executable, "book/warm.py", "serve"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
os.environ["JUPYTER_PATH"] = "book"  # with the kernel `warm`

import grimp
import yaml
from pages import code_of, read, select
from papermill import inspect_notebook

from layerwise.errors import InputError
from layerwise.study.contents import load_contents
from layerwise.study.profiles import load_profile
from layerwise.study.data.interactions import prepare_interactions
from layerwise.study.data.reviews import prepare_reviews, prepare_unlabelled
from layerwise.study.stages import PREPARED_INTERACTIONS, STAGES

# Stages call programs of the environment that this runs in, whether or not the shell knows it.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

try:
    SHARED, RUNS = load_profile(config.get("profile", "quick"), config.get("params") or "")
    CONTENTS, CHAPTERS = load_contents(SHARED.profile)
    for folder in (SHARED.profile_dir, Path("_build"), Path("book/stages")):
        folder.mkdir(parents=True, exist_ok=True)
    # Once for all models and seeds, and before any of them: data that cannot be used must not touch earlier results.
    prepare_reviews(SHARED)
    if any(stage.data == PREPARED_INTERACTIONS for stage in CHAPTERS):
        prepare_interactions(SHARED)
    for run in RUNS:
        if run.pretraining_texts:
            prepare_unlabelled(run)
except InputError as error:
    raise SystemExit(f"InputError: {error}")
except OSError as error:
    raise SystemExit(f"InputError: cannot write to {error.filename}: {error.strerror}")

RECORDED = sorted(map(str, Path("results").rglob("*.json")))
ROOT = f"{Path(SHARED.runs) / SHARED.profile}"
RUN = f"{ROOT}/{{model}}/seed{{seed}}"
FIRST = RUN.format(model=SHARED.model_name, seed=SHARED.seed)
# An expert is asked once there is a key, and again at each start of the workflow if the parameters say so.
EXPERT = SHARED.expert_model and [bool(os.environ.get("OPENAI_API_KEY")), SHARED.refresh_expert and time.time()]
# Runs share the cores: several small models train faster side by side than one after the other.
THREADS = max(1, workflow.cores // len(RUNS))
GRAPH = grimp.build_graph("layerwise", cache_dir=None)


wildcard_constraints:
    model="[^/]+",
    seed=r"\d+",
    page=r"\w+",
    figure=r"\w+",


def run_of(wildcards):
    """The parameters of the run of a model and a seed; those of the stages that all runs share have no wildcards."""
    return next(run for run in RUNS if (run.model_name, str(run.seed)) == (*wildcards,)) if [*wildcards] else SHARED


def parameters(stage):
    """The parameters that a notebook declares, as papermill takes them; other parameters do not concern it."""
    declared = set(inspect_notebook(f"notebooks/{stage.name}.ipynb"))

    def of_run(wildcards):
        values = run_of(wildcards).model_dump(include=declared)
        return yaml.safe_dump(values, default_flow_style=True, width=float("inf"))

    return of_run


def code(stage, part):
    """The code of one part of a notebook."""
    cells = select(part, read(f"notebooks/{stage.name}.ipynb"))["cells"]
    return "\n".join(code_of(cell) for cell in cells)


def code_sha256(stage, part):
    """What a run depends on instead of on the notebook's file: a change of prose needs no new run."""
    return hashlib.sha256(code(stage, part).encode()).hexdigest()


def modules(stage, part):
    """The modules of layerwise that a part of a notebook imports, directly or through one another."""
    imported = set()
    for node in ast.walk(ast.parse(code(stage, part))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "layerwise":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            imported |= {name if name in GRAPH.modules else node.module for name in names}
    imported |= {upstream for name in imported for upstream in GRAPH.find_upstream_modules(name)}
    paths = [Path("lib", *name.split(".")) for name in imported]
    return sorted(str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py")) for path in paths)


def folder_of(stage):
    return ROOT if stage.shared else RUN


def outputs(stage, folder):
    """The files and folders that a stage computes, but for its executed notebook."""
    files = [f"{folder}/{stage.name}.json", *([f"{folder}/{stage.name}.npz"] if stage.arrays else [])]
    return [*files, *(f"{folder}/{name}" for name in stage.folders)] if stage.computes else []


# The foot of each page names the run of the last chapter that computes.
BUILT = [outputs(stage, ROOT if stage.shared else FIRST)[0] for stage in CHAPTERS if stage.computes][-1]


def needs(stage, part):
    """The results that a part of a stage reads: of the same run, or of all runs where it is shared."""

    def of_run(wildcards):
        run = run_of(wildcards)
        folders = [f"{ROOT}/{each.model_name}/seed{each.seed}" for each in (RUNS if stage.shared else [run])]
        files = [f"{ROOT}/{stage.data}"] if stage.data else []
        if stage.name == "training" and run.pretraining_texts:
            files.append(f"{folders[0]}/unlabelled/quality.json")
        shown = [name for name in stage.shows if STAGES[name] in CHAPTERS and part == "render"]
        for name in [*stage.needs, *shown]:
            for folder in [ROOT] if STAGES[name].shared else folders:
                files += outputs(STAGES[name], folder)
        return files

    return of_run


# A stage keeps its log. If it fails, the last line of the log is the error, and the last line that the reader sees.
EXECUTE = """
printf '%s\\n' '{output.notebook}'
mkdir -p $(dirname {params.part})
python book/pages.py select {params.kind} {input.notebook} {params.part}
python book/warm.py -m papermill {params.part} {output.notebook} --kernel warm --parameters_yaml {params.parameters:q} \
    --no-progress-bar --no-request-save-on-cell-execute 2> {log} ||
    {{ printf '%s\\n' 'failed; all of it is in {log}' "$(grep . {log} | tail -n 1)" >&2; exit 1; }}
rm {params.part}
"""


rule book:
    input:
        "_config.yml",
        CONTENTS,
        [str(f) for f in Path("book").rglob("*") if f.is_file() and not {"stages", "__pycache__"} & {*f.parts}],
        [f"book/stages/{stage.name}.ipynb" for stage in CHAPTERS],
        [f"book/stages/{file}" for stage in CHAPTERS for file in stage.files if file.endswith(".png")],
        [f"{ROOT}/{run.model_name}/seed{run.seed}/{stage.name}.ipynb" for run in RUNS for stage in CHAPTERS if not stage.shared],
    output: "_build/html/index.html"
    params: built=BUILT, contents=CONTENTS
    log: "_build/build.log"
    shell:
        """
        printf '%s\\n' '{rule}: {output}'
        LAYERWISE_BUILT={params.built} jupyter-book build . --toc {params.contents} -W -n --keep-going > {log} 2>&1 ||
            {{ grep -E 'WARNING|ERROR' {log} >&2 || true
               printf '%s\\n' 'the book does not build without warnings; all of it is in {log}' >&2; exit 1; }}
        """


rule page:
    """A chapter is a stage of the first model and seed, or one that is shared by all."""
    input:
        notebook="notebooks/{page}.ipynb",
        executed=lambda wildcards: f"{ROOT if STAGES[wildcards.page].shared else FIRST}/{wildcards.page}.ipynb",
        tool="book/pages.py",
    output: "book/stages/{page}.ipynb"
    shell: "python book/pages.py merge {input.notebook} {input.executed} {output}"


rule figure:
    """A figure of a stage that pages outside of its chapter show."""
    input: f"{ROOT}/{{figure}}.png"
    output: "book/stages/{figure}.png"
    shell: "cp {input} {output}"


for stage in STAGES.values():
    folder = folder_of(stage)

    if stage.computes:

        rule:
            name: stage.name
            input:
                needs(stage, "compute"),
                modules(stage, "compute"),
                RECORDED if stage.name == "comparison" else [],
                notebook=ancient(f"notebooks/{stage.name}.ipynb"),
            output:
                outputs(stage, folder)[: 1 + stage.arrays],
                [directory(f"{folder}/{name}") for name in stage.folders],
                notebook=f"{folder}/compute/{stage.name}.ipynb",
            params:
                kind="compute",
                part=f"{folder}/compute/{stage.name}.part.ipynb",
                code=code_sha256(stage, "compute"),
                parameters=parameters(stage),
                expert=EXPERT if stage.name == "fusion" else None,
            log: f"{folder}/{stage.name}.log"
            threads: max(1, workflow.cores // 2) if stage.shared else THREADS  # beside a shared stage another one runs
            shell: EXECUTE

    rule:
        name: f"render_{stage.name}"
        input:
            "book/pages.py",
            needs(stage, "render"),
            outputs(stage, folder),
            modules(stage, "render"),
            RECORDED if stage.name in ("comparison", "recorded_runs", "appendix") else [],
            notebook=ancient(f"notebooks/{stage.name}.ipynb"),
            computed=[f"{folder}/compute/{stage.name}.ipynb"] if stage.computes else [],
        output:
            [f"{folder}/{name}" for name in stage.files],
            notebook=f"{folder}/render/{stage.name}.ipynb",
            merged=f"{folder}/{stage.name}.ipynb",
        params:
            kind="render",
            part=f"{folder}/render/{stage.name}.part.ipynb",
            code=code_sha256(stage, "render"),
            parameters=parameters(stage),
        log: f"{folder}/render/{stage.name}.log"
        shell: EXECUTE + "python book/pages.py merge {input.notebook} {input.computed} {output.notebook} {output.merged}"
