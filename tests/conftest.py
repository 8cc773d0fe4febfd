"""Small models, small files of reviews, and one run of the smoke profile for all the tests that look at its results."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported: test processes share the cores
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # shap's few loops take less time here than to be compiled

import pandas as pd
import pytest
import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForSequenceClassification

from layerwise.study.config import silence_libraries

ROOT = Path(__file__).parents[1]
WARM = str(ROOT / "book" / "warm.py")
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}
ARCHITECTURES = {
    "bert": {},
    "roberta": {},
    "roberta-prelayernorm": {},
    "distilbert": {"hidden_dim": 32},
    "gpt2": {"bos_token_id": 0, "eos_token_id": 2},
    "llama": {"num_key_value_heads": 1},
    "mpnet": {},  # its layers return tuples
    "modernbert": {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8},  # its configuration has an entry a layer
}


def make_model(architecture: str, classes: int = 2, seed: int = 0, layers: int = 4, **changes):
    """A classifier in eval mode, its weights far enough from their start to tell layers apart."""
    torch.manual_seed(seed)
    sizes = SIZES | ARCHITECTURES[architecture] | {"num_hidden_layers": layers} | changes
    config = AutoConfig.for_model(architecture, **sizes, num_labels=classes)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def make_batch(classes: int = 2, seed: int = 0, examples: int = 5) -> dict[str, torch.Tensor]:
    """A batch in which two examples are padded."""
    torch.manual_seed(seed)
    batch = {
        "input_ids": torch.randint(3, 50, (examples, 9)),
        "attention_mask": torch.ones(examples, 9, dtype=torch.long),
        "labels": torch.randint(0, classes, (examples,)),
    }
    for row, length in ((0, 5), (1, 7)):
        batch["input_ids"][row, length:] = SIZES["pad_token_id"]
        batch["attention_mask"][row, length:] = 0
    return batch


def inputs_of(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if name != "labels"}


def make_reviews(rows: int = 200, **columns) -> pd.DataFrame:
    """Reviews in the layout of Amazon Reviews 2023, all texts different, five a product."""
    words = ["battery", "screen", "cable", "camera", "sound", "button", "price"]
    frame = pd.DataFrame(
        {
            "rating": [5.0 if i % 2 else 1.0 for i in range(rows)],
            "text": [f"{'good' if i % 2 else 'bad'} {words[i % 7]}, bought number {i} last year" for i in range(rows)],
            "parent_asin": [f"B{i // 5:04d}" for i in range(rows)],
            "timestamp": [1_400_000_000_000 + i for i in range(rows)],
        }
    )
    return frame.assign(**columns)


def write(frame: pd.DataFrame, file: Path) -> str:
    """The frame as a file of the kind that its name says; its path."""
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_json(file, orient="records", lines=True)
    return str(file)


def command(*words: str) -> list[str]:
    """The workflow as `make book` calls it, but for `--quiet=all`."""
    return [sys.executable, WARM, "-m", "snakemake", "--cores=all", "--nolock", "--rerun-incomplete", *words]


def execute(notebook: str, *words: str) -> list[str]:
    """A whole notebook by plain papermill, but for its warm start."""
    return [sys.executable, WARM, "-m", "papermill", notebook, *words, "--kernel=warm", "--no-progress-bar"]


def settings(*params: str) -> list[str]:
    return ["--config", "profile=smoke", f"params={' '.join(params)}"]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "JUPYTER_PATH": str(ROOT / "book"),  # with the kernel `warm`
}


def copy_project(folder: Path) -> Path:
    """The files of the project as they are in the working tree, and nothing that was generated."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def pytest_configure(config):
    """Notebooks and workflows of all test processes start warm, from one server that ends with this process."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput") and sys.platform == "linux":
        silence_libraries()
        os.environ["LAYERWISE_WARM"] = f"{tempfile.mkdtemp(prefix='layerwise-')}/socket"
        words = [sys.executable, WARM, "serve", "snakemake.cli"]
        config.warm = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def pytest_collection_modifyitems(items):
    """One process builds the book first; the others begin at the end, with tests that need not wait for it."""
    items.sort(key=lambda item: "project" not in item.fixturenames)


@pytest.fixture(scope="session")
def project(tmp_path_factory, worker_id) -> Path:
    """A copy of the project in which the book of the smoke profile was built, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    built = (base if worker_id == "master" else base.parent) / "built"
    with FileLock(f"{built}.lock"):
        if not built.exists():
            folder = copy_project(built.with_name("building"))
            done = run(folder, *command("book", "--quiet=all", *settings()))
            assert done.returncode == 0, done.stdout + done.stderr
            folder.rename(built)
    return shutil.copytree(built, base / "project")
