"""Tables from outside: a file on this machine or one streamed from the Hugging Face hub, read by DuckDB out of core."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from layerwise.errors import InputError
from layerwise.parameters import project_path
from layerwise.reports import Filter, Report

MEMORY_LIMIT = "4GB"
READERS = {".parquet": "read_parquet('{}')", ".csv": "read_csv('{}')", ".jsonl": "read_json('{}')"}
# Amazon Reviews 2023 (Hou et al., 2024) at the revision this project was written against.
AMAZON = "hf://datasets/McAuley-Lab/Amazon-Reviews-2023@2b6d039ed471f2ba5fd2acb718bf33b0a7e5598e"


def once(
    kind: type[Report], folder: Path, fetch: Callable[[], Path], made_with: dict, make: Callable[[Path], dict]
) -> Report:
    """The report of what a folder was made of, which is made unless it is there already.

    Args:
        kind: of the report, which is kept as `quality.json` in the folder.
        fetch: gives the source.
        made_with: all that decides what is made of the source.
        make: fills the folder from the source, and says what else the report holds.

    Raises:
        InputError: the source cannot be read, or the folder cannot be written.
    """
    kept = folder / "quality.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = fetch()
        made_with, source_sha256 = made_with | {"source": file.name}, sha256(file)
        if kept.is_file():
            made = json.loads(kept.read_text())
            if (made["made_with"], made["source_sha256"]) == (made_with, source_sha256):
                return kind.model_validate(made)
        report = kind(source=file.name, source_sha256=source_sha256, made_with=made_with, **make(file))
        kept.write_text(report.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"cannot write the {folder.name} to {error.filename or folder}: {error.strerror or error}"
        ) from error
    return report


def local(parameter: str, source: str, others: str) -> Path:
    """The file that a parameter names.

    Args:
        others: what else the parameter can be.

    Raises:
        InputError: there is none.
    """
    file = project_path(source)
    if not file.is_file():
        raise InputError(f"there is no file {source!r}; {parameter} is {others}, or a .parquet, .csv or .jsonl file")
    return file


def stream(kind: str, urls: list[str], columns: dict[str, pa.DataType], target: Path) -> Path:
    """Stream these columns of tables into one parquet file, a batch at a time, unless an earlier run already did.

    Args:
        kind: json or csv.

    Raises:
        InputError: they cannot be reached.
    """
    schema, part = pa.schema(columns.items()), target.with_suffix(".part")
    if not target.exists():
        try:
            rows = load_dataset(kind, data_files=urls, split="train", streaming=True).select_columns(list(columns))
            with pq.ParquetWriter(part, schema) as writer:
                for batch in rows.with_format("arrow").iter(batch_size=50_000):
                    writer.write_table(batch.cast(schema))
        except Exception as error:  # the hub's client raises dozens of kinds, all of which mean the same to the reader
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                f"cannot stream {urls[0]} ({type(error).__name__}: {reason}); is there a network?"
            ) from error
        part.rename(target)
    return target


@contextmanager
def reading(file: Path, what: str, folder: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """A database on disk, so that memory holds only what is worked on, and a scratch folder; both go afterwards.

    Args:
        what: the file is to be read as.
        folder: in which both lie.

    Raises:
        InputError: what is in the file cannot be read so.
    """
    config = {"memory_limit": MEMORY_LIMIT, "autoinstall_known_extensions": False}
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        duckdb.connect(f"{scratch}/{what}.duckdb", config=config) as db,
    ):
        try:
            yield db, Path(scratch)
        except duckdb.Error as error:
            raise InputError(f"cannot read {file.name} as {what}: {str(error).splitlines()[0]}") from error


def table(db: duckdb.DuckDBPyConnection, file: Path) -> tuple[str, dict[str, str]]:
    """SQL that reads a file, and the types of its columns.

    Raises:
        InputError: its name does not tell what it is.
    """
    if file.suffix not in READERS:
        raise InputError(f"cannot tell what {file.name} is: its name should end in {', '.join(READERS)}")
    source = READERS[file.suffix].format(quoted(file))
    return source, {name: kind for name, kind, *_ in db.execute(f"describe select * from {source}").fetchall()}


def drop(db: duckdb.DuckDBPyConnection, name: str, rules: dict[str, str]) -> list[Filter]:
    """Delete from a table what meets the rules, one after the other, and count it."""
    filters, left = [], db.execute(f"select count(*) from {name}").fetchone()[0]
    for rule, condition in rules.items():
        dropped = db.execute(f"delete from {name} where {condition}").fetchone()[0]
        left -= dropped
        filters.append(Filter(name=rule, dropped=dropped, left=left))
    return filters


def quoted(path: Path) -> str:
    """A path inside a string of SQL."""
    return str(path).replace("'", "''")


def sha256(*files: Path) -> str:
    """Of one file after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
