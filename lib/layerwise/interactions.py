"""Interactions: who took which product after which; read from a source, cleaned and cut into histories by DuckDB."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from layerwise import assets, sources
from layerwise.errors import InputError
from layerwise.parameters import Parameters
from layerwise.reports import InteractionReport
from layerwise.sources import quoted, sha256

# Amazon Electronics, users and products with five interactions or more; the last of each user held out by the source.
HUB = [f"{sources.AMAZON}/benchmark/5core/last_out/Electronics.{part}.csv" for part in ("train", "valid", "test")]
COLUMNS = {"user_id": pa.string(), "parent_asin": pa.string(), "timestamp": pa.int64()}
PRODUCTS, ORDERS = ("item_id", "parent_asin", "asin"), ("position", "timestamp")  # columns, the first that is there
SHORTEST = 3  # products of a history: one to learn from, one to validate with, one to test with
FEWEST = 30  # users, so that a third of them can validate


def prepare(parameters: Parameters) -> InteractionReport:
    """Cut the source into one history a user, in `parameters.interactions_dir`.

    A product counts once a user, where it first stood; of the same time, in the order of the source. Does nothing where
    the folder already holds the histories of the same source, parameters and code.

    Raises:
        InputError: the source cannot be read, or too few users are left.
    """
    folder = parameters.interactions_dir
    code = sha256(Path(__file__), Path(sources.__file__))
    return sources.once(
        InteractionReport,
        folder,
        lambda: _fetch(parameters.interactions, folder),
        {"users": parameters.users, "code_sha256": code},
        lambda file: _prepare(parameters, file, folder),
    )


def load(parameters: Parameters) -> tuple[list[np.ndarray], pd.DataFrame]:
    """The histories, users in random order, and the products.

    Returns:
        For each user the numbers of the products, from 1, in order of time; and a frame of the products' `name` and
        `title`, indexed by number. A source without titles has the names for them.
    """
    table = pq.read_table(_made(parameters, "histories.parquet"))["products"].combine_chunks()
    ends = table.offsets.to_numpy()
    histories = np.split(table.flatten().to_numpy().astype(np.int64), ends[1:-1])
    return histories, pd.read_parquet(_made(parameters, "products.parquet")).set_index("number")


def _made(parameters: Parameters, name: str) -> Path:
    file = parameters.interactions_dir / name
    if not file.is_file():
        raise InputError(f"no prepared interactions in {file.parent}: build with make book, which prepares them")
    return file


def _fetch(source: str, folder: Path) -> Path:
    if source == "movielens":
        return assets.movielens()
    if source == "hub":
        return sources.stream("csv", HUB, COLUMNS, folder / "hub.parquet")
    return sources.local("interactions", source, "movielens, hub")


def _prepare(parameters: Parameters, file: Path, folder: Path) -> dict:
    """Writes histories and products; returns what the report says of them."""
    with sources.reading(file, "interactions", folder) as (db, scratch):
        _read(db, file)
        rows = db.execute("select count(*) from raw").fetchone()[0]
        if not rows:
            raise InputError(f"{file.name} holds no interaction: give a file with a row for each product of each user")
        chosen = "qualify row_number() over (order by md5(user)) > " + str(parameters.users or "count(*) over ()")
        filters = sources.drop(
            db,
            "raw",
            {
                "no user, product or time": "user is null or product is null or time is null",
                "product of the user before": """number not in
                    (select first(number order by time, number) from raw group by user, product)""",
                f"users of under {SHORTEST} products": f"""user in
                    (select user from raw group by user having count(*) < {SHORTEST})""",
                "users beyond those asked for": f"user in (select user from (select distinct user from raw) {chosen})",
            },
        )
        users = db.execute("select count(distinct user) from raw").fetchone()[0]
        if users < (needed := max(FEWEST, parameters.users or 0)):
            raise InputError(
                f"{file.name} leaves {users} users of {SHORTEST} different products or more, and {needed} are needed: "
                "give more interactions, or lower the parameter 'users'"
            )
        described = _write(db, scratch)
        names = ("histories.parquet", "products.parquet")
        (folder / "quality.json").unlink(missing_ok=True)  # earlier histories stand until the new ones do
        for name in names:
            (scratch / name).replace(folder / name)
        return described | {"rows": rows, "filters": filters, "sha256": sha256(*(folder / name for name in names))}


def _read(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """The tables `raw` (number, user, product, time) and `titles` (product, title) of a file in any known layout."""
    films = file.suffix == ".inter"
    if films:
        read = "read_csv('{}', delim = '\t', header = false, skip = 1, quote = '', names = {})"
        titles = read.format(quoted(file.with_suffix(".item")), ["product", "title", "year", "kinds"])
        source = read.format(quoted(file), ["user", "product", "rating", "time"])
        user, product, time = "user", "product", "time"
        title = f"select product::varchar, title || ' (' || year || ')' from {titles}"
    else:
        source, columns = sources.table(db, file)
        user = "user_id"
        product = next((name for name in PRODUCTS if name in columns), None)
        time = next((name for name in ORDERS if name in columns), None)
        for needed, found in (("user_id", user in columns), ("item_id", product), ("timestamp", time)):
            if not found:
                raise InputError(f"{file.name} has no column {needed!r}; its columns are {', '.join(columns)}")
        if columns[time] == "VARCHAR":
            raise InputError(
                f"the column {time!r} of {file.name} holds text, which has no order: give numbers or dates"
            )
        title = "select null, null where false"
    db.execute(f"""
        create table raw as
        select row_number() over () as number, {user}::varchar as user, {product}::varchar as product, {time} as time
        from {source}""")
    db.execute(f"create table titles as select * from ({title}) as t(product, title)")


def _write(db: duckdb.DuckDBPyConnection, folder: Path) -> dict:
    db.execute("""
        create table products as
        select row_number() over (order by product) as number, product as name, coalesce(title, product) as title
        from (select distinct product from raw) left join titles using (product)""")
    db.execute("""
        create table histories as
        select user, list(products.number order by time, raw.number) as products
        from raw join products on product = name group by user""")
    for name, query in (
        ("histories", "select products from histories order by md5(user)"),
        ("products", "from products order by number"),
    ):
        db.execute(f"copy ({query}) to '{quoted(folder / name)}.parquet' (format parquet)")
    users, products, interactions, lengths = db.execute("""
        select count(*), (select count(*) from products), sum(len(products)),
               quantile_cont(len(products), [0, 0.25, 0.5, 0.75, 1]) from histories""").fetchone()
    simultaneous = db.execute("""
        select avg((n > 1)::int) from (select count(*) over (partition by user, time) as n from raw)""").fetchone()[0]
    return {
        "users": users,
        "products": products,
        "interactions": interactions,
        "lengths": lengths,
        "simultaneous": simultaneous,
    }
