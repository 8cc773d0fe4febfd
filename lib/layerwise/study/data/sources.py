"""Sources of data: a local file, or files streamed from the Hugging Face hub; DuckDB reads them from disk."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from layerwise.errors import InputError
from layerwise.study.config import project_path
from layerwise.study.data.quality import Filter, Report

AnyReport = TypeVar("AnyReport", bound=Report)

MEMORY_LIMIT = "4GB"  # of DuckDB, which puts the rest on disk
READERS = {".parquet": "read_parquet('{}')", ".csv": "read_csv('{}')", ".jsonl": "read_json('{}')"}
# Amazon Reviews 2023 (Hou et al., 2024), at a fixed revision.
AMAZON = "hf://datasets/McAuley-Lab/Amazon-Reviews-2023@2b6d039ed471f2ba5fd2acb718bf33b0a7e5598e"


def prepare_once(
    kind: type[AnyReport],
    folder: Path,
    fetch: Callable[[], Path],
    made_with: dict[str, Any],
    make: Callable[[Path], dict[str, Any]],
) -> AnyReport:
    """Prepare a folder from a source, unless it is already prepared from the same source in the same way.

    Args:
        kind: of the report, which is written to `quality.json` in the folder.
        fetch: returns the file of the source.
        made_with: all that decides how the source is prepared.
        make: writes the files of the folder from the source, and returns the other entries of the report.

    Returns:
        The report.

    Raises:
        InputError: the source cannot be read, or the folder cannot be written.
    """
    report_file = folder / "quality.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = fetch()
        made_with, source_sha256 = made_with | {"source": file.name}, sha256(file)
        if report_file.is_file():
            earlier = json.loads(report_file.read_text())
            if (earlier["made_with"], earlier["source_sha256"]) == (made_with, source_sha256):
                return kind.model_validate(earlier)
        report = kind(source=file.name, source_sha256=source_sha256, made_with=made_with, **make(file))
        report_file.write_text(report.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"cannot write the {folder.name} to {error.filename or folder}: {error.strerror or error}"
        ) from error
    return report


def local_file(parameter: str, source: str, others: str) -> Path:
    """Find the file that a parameter names.

    Args:
        parameter: its name.
        source: its value.
        others: the other values that it can have.

    Raises:
        InputError: there is no such file.
    """
    file = project_path(source)
    if not file.is_file():
        raise InputError(f"there is no file {source!r}; {parameter} is {others}, or a .parquet, .csv or .jsonl file")
    return file


def stream_table(kind: str, urls: list[str], columns: dict[str, pa.DataType], target: Path) -> Path:
    """Stream columns of remote tables into one parquet file, batch by batch; do nothing if the file exists.

    Args:
        kind: json or csv.
        urls: of the tables, which are appended to each other.
        columns: names and types.
        target: the parquet file, which is returned.

    Raises:
        InputError: the tables cannot be reached.
    """
    schema, part = pa.schema(columns.items()), target.with_suffix(".part")
    if not target.exists():
        try:
            rows = load_dataset(kind, data_files=urls, split="train", streaming=True).select_columns(list(columns))
            with pq.ParquetWriter(part, schema) as writer:
                for batch in rows.with_format("arrow").iter(batch_size=50_000):
                    writer.write_table(batch.cast(schema))
        except Exception as error:  # the client of the hub raises many kinds of errors, with the same meaning
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                f"cannot stream {urls[0]} ({type(error).__name__}: {reason}); is there a network?"
            ) from error
        part.rename(target)
    return target


@contextmanager
def open_database(file: Path, content: str, folder: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Open a database on disk, for data that do not fit in memory, and a scratch folder; both are deleted at the end.

    Args:
        file: that is read into the database; errors name it.
        content: what the file holds, such as `reviews`; errors name it, too.
        folder: that the database and the scratch folder are in.

    Raises:
        InputError: DuckDB cannot read the file.
    """
    config = {"memory_limit": MEMORY_LIMIT, "autoinstall_known_extensions": False}
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        duckdb.connect(f"{scratch}/{content}.duckdb", config=config) as db,
    ):
        try:
            yield db, Path(scratch)
        except duckdb.Error as error:
            raise InputError(f"cannot read {file.name} as {content}: {str(error).splitlines()[0]}") from error


def describe_table(db: duckdb.DuckDBPyConnection, file: Path) -> tuple[str, dict[str, str]]:
    """Describe a file: the SQL that reads it, and the types of its columns.

    Raises:
        InputError: the file name has none of the known endings.
    """
    if file.suffix not in READERS:
        raise InputError(f"cannot tell what {file.name} is: its name should end in {', '.join(READERS)}")
    source = READERS[file.suffix].format(quote(file))
    return source, {name: kind for name, kind, *_ in db.execute(f"describe select * from {source}").fetchall()}


def apply_filters(db: duckdb.DuckDBPyConnection, name: str, rules: dict[str, str]) -> list[Filter]:
    """Delete rows from a table, one rule after the other, and count them.

    Args:
        name: of the table.
        rules: for each filter its name, and the SQL condition of the rows that it drops.
    """
    filters, left = [], db.execute(f"select count(*) from {name}").fetchone()[0]
    for rule, condition in rules.items():
        dropped = db.execute(f"delete from {name} where {condition}").fetchone()[0]
        left -= dropped
        filters.append(Filter(name=rule, dropped=dropped, left=left))
    return filters


def quote(text: object) -> str:
    """Escape a text or a path for a string in SQL."""
    return str(text).replace("'", "''")


def sha256(*files: Path) -> str:
    """Compute the sha256 of the contents of files, joined in this order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
