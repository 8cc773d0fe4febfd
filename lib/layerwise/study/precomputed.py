"""Precomputed runs: what stages need of one another, in one file of a few MB, so that every chapter opens alone.

    python -m layerwise.study.precomputed make PROFILE FILE
    python -m layerwise.study.precomputed fetch [FILE or address]

The file holds the results and arrays of all stages and the weights of the first model, each with its sha256. It holds
no review: the reviews are prepared again from their source. The published book has such a file of its own run.
"""

import hashlib
import io
import sys
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from layerwise.errors import InputError
from layerwise.study.config import Parameters, project_path
from layerwise.study.data.reviews import prepare_reviews
from layerwise.study.profiles import load_profile
from layerwise.study.records import load_record
from layerwise.study.repository import GITHUB, repository
from layerwise.study.stages import STAGES

SUMS = "SHA256SUMS"
FILE = "precomputed.zip"


def pack(profile: str, target: Path) -> None:
    """Write what the runs of a profile computed to a zip file: the same bytes for the same results.

    Raises:
        InputError: nothing was run with this profile, or the file cannot be written.
    """
    first = load_profile(profile)[1][0]
    runs, folder = first.profile_dir.parent, first.profile_dir
    files = [file for file in folder.rglob("*.*") if file.stem in STAGES and file.suffix in (".json", ".npz")]
    files += (first.run_dir / "model").glob("[!.]*")
    if not (first.run_dir / "training.json").is_file():
        raise InputError(f"nothing was run with the profile {profile}: make book PROFILE={profile} first")
    contents = {file.relative_to(runs).as_posix(): file.read_bytes() for file in sorted(files)}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    try:
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in {SUMS: sums.encode(), **contents}.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without the time
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from error


def unpack(content: bytes, runs: Path) -> list[Path]:
    """Check every file of a packed run, then write them to the folder of all runs, and return them.

    Raises:
        InputError: a file is missing or is not the one that was packed, or would replace another one.
    """
    contents = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = SUMS
            for line in archive.read(SUMS).decode().splitlines():
                expected, name = line.split("  ", 1)
                contents[name] = archive.read(name)
                if hashlib.sha256(contents[name]).hexdigest() != expected:
                    raise InputError(f"{name} is not the file that was packed: its sha256 is another one")
                if ".." in (path := PurePosixPath(name)).parts or path.is_absolute():
                    raise InputError(f"{name} would be written outside of {runs}")
    except zipfile.BadZipFile as error:
        raise InputError(f"these are no precomputed runs: {error}") from None
    except (KeyError, ValueError, zlib.error) as error:
        raise InputError(f"{name} is missing or damaged: {error}") from None
    for name, packed in contents.items():
        if (file := runs / name).is_file() and file.read_bytes() != packed:
            raise InputError(f"{name} is already there, with other results: move {file.parent} away first")
    for name, packed in contents.items():
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_bytes(packed)
    return [runs / name for name in contents]


def fetch(source: str = "") -> list[Path]:
    """Unpack precomputed runs and prepare their reviews.

    Args:
        source: a file or an address; by default that of the book that this repository publishes on GitHub.

    Returns:
        The files that were written.

    Raises:
        InputError: they cannot be fetched, do not fit their checksums, or were computed from other reviews.
    """
    files = unpack(_read(source or _published()), project_path("runs"))
    for file in files:
        if file.name == "training.json":
            trained = load_record(file)
            if prepare_reviews(Parameters.check(trained.provenance.parameters)).sha256 != trained.data.sha256:
                raise InputError(f"{file} was computed from other reviews: fetch the runs of this version of the code")
    return files


def _published() -> str:
    address = repository(project_path("."))
    if not address.startswith(f"{GITHUB}/"):
        raise InputError("no repository on GitHub is known here: name a file of precomputed runs, or its address")
    owner, name = address.removeprefix(f"{GITHUB}/").split("/")
    return f"https://{owner}.github.io/{name}/{FILE}"


def _read(source: str) -> bytes:
    try:
        if source.startswith("https://"):
            with urllib.request.urlopen(source, timeout=60) as answer:
                return answer.read()
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"cannot fetch {source}: {error}") from error


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case ["make", profile, file]:
                pack(profile, Path(file))
            case ["fetch", *source] if len(source) < 2:
                print(f"{len(fetch(*source))} files are unpacked in {project_path('runs').name}/: every chapter opens")
            case _:
                raise InputError("say 'make PROFILE FILE' or 'fetch [FILE or address]'")
    except InputError as error:
        raise SystemExit(f"InputError: {error}") from None
