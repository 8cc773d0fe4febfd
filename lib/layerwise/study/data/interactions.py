"""Interactions: which user took which product when. DuckDB reads and cleans them, and makes a history of each user."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from layerwise.errors import InputError
from layerwise.study.config import Parameters
from layerwise.study.data import assets, sources
from layerwise.study.data.quality import Filter, InteractionReport
from layerwise.study.data.sources import quote, sha256

# Amazon Electronics, users and products with five interactions or more: the three files of the source's own splits.
HUB = [f"{sources.AMAZON}/benchmark/5core/last_out/Electronics.{part}.csv" for part in ("train", "valid", "test")]
COLUMNS = {"user_id": pa.string(), "parent_asin": pa.string(), "timestamp": pa.int64()}
# Possible names of the columns of products and of their order; the first one that a file has is used.
PRODUCT_COLUMNS, ORDER_COLUMNS = ("item_id", "parent_asin", "asin"), ("position", "timestamp")
MIN_PRODUCTS = 3  # of a history: one for training, one for validation, one for the test
MIN_USERS = 30  # so that a third of them is enough for validation


def prepare_interactions(parameters: Parameters) -> InteractionReport:
    """Turn the source into one history for each user, in `parameters.interactions_dir`.

    A history lists the products by time, and those of the same time in the order of the source. A product that a user
    took several times counts at its first place only. Nothing is done if the folder already holds the histories of the
    same source, parameters and code.

    Returns:
        The report, which is also written to `quality.json` in the folder.

    Raises:
        InputError: the source cannot be read, or too few users are left.
    """
    folder = parameters.interactions_dir
    code = sha256(Path(__file__), Path(sources.__file__))
    return sources.prepare_once(
        InteractionReport,
        folder,
        lambda: _fetch(parameters.interactions, folder),
        {"users": parameters.users, "code_sha256": code},
        lambda file: _prepare(parameters, file, folder),
    )


def load_interactions(parameters: Parameters) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Load the prepared histories and the products.

    Returns:
        For each user, in random order, an int64 array of the numbers of the products (from 1) by time; and a frame with
        the `name` and `title` of each product, indexed by its number. Without titles in the source, names replace them.

    Raises:
        InputError: the interactions are not prepared.
    """
    table = pq.read_table(_find_prepared(parameters, "histories.parquet"))["products"].combine_chunks()
    ends = table.offsets.to_numpy()
    histories = np.split(table.flatten().to_numpy().astype(np.int64), ends[1:-1])
    return histories, pd.read_parquet(_find_prepared(parameters, "products.parquet")).set_index("number")


def _find_prepared(parameters: Parameters, name: str) -> Path:
    """The path of a prepared file.

    Raises:
        InputError: there is no such file.
    """
    file = parameters.interactions_dir / name
    if not file.is_file():
        raise InputError(f"no prepared interactions in {file.parent}: build with make book, which prepares them")
    return file


def _fetch(source: str, folder: Path) -> Path:
    """Fetch the source as a local file."""
    if source == "movielens":
        return assets.movielens()
    if source == "hub":
        return sources.stream_table("csv", HUB, COLUMNS, folder / "hub.parquet")
    return sources.local_file("interactions", source, "movielens, hub")


def _prepare(parameters: Parameters, file: Path, folder: Path) -> dict[str, Any]:
    """Write the histories and the products to the folder; return the entries of the report about them."""
    with sources.open_database(file, "interactions", folder) as (db, scratch):
        _read_source(db, file)
        rows = db.execute("select count(*) from raw").fetchone()[0]
        if not rows:
            raise InputError(f"{file.name} holds no interaction: give a file with a row for each product of each user")
        filters = _drop_rows(db, parameters.users)
        users = db.execute("select count(distinct user) from raw").fetchone()[0]
        if users < (min_users := max(MIN_USERS, parameters.users or 0)):
            raise InputError(
                f"{file.name} leaves {users} users of {MIN_PRODUCTS} different products or more, and {min_users} are "
                "needed: give more interactions, or lower the parameter 'users'"
            )
        entries = _write_histories(db, scratch)
        names = ("histories.parquet", "products.parquet")
        (folder / "quality.json").unlink(missing_ok=True)  # earlier histories stay until the new ones are written
        for name in names:
            (scratch / name).replace(folder / name)
        return entries | {"rows": rows, "filters": filters, "sha256": sha256(*(folder / name for name in names))}


def _read_source(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Create the tables `raw` (number, user, product, time) and `titles` (product, title) from a file.

    Raises:
        InputError: a column is missing, or the time is text.
    """
    if file.suffix == ".inter":  # MovieLens
        read = "read_csv('{}', delim = '\t', header = false, skip = 1, quote = '', names = {})"
        titles = read.format(quote(file.with_suffix(".item")), ["product", "title", "year", "kinds"])
        source = read.format(quote(file), ["user", "product", "rating", "time"])
        user, product, time = "user", "product", "time"
        title = f"select product::varchar, title || ' (' || year || ')' from {titles}"
    else:
        source, columns = sources.describe_table(db, file)
        user = "user_id"
        product = next((name for name in PRODUCT_COLUMNS if name in columns), "")
        time = next((name for name in ORDER_COLUMNS if name in columns), "")
        for column, is_there in (("user_id", user in columns), ("item_id", product), ("timestamp", time)):
            if not is_there:
                raise InputError(f"{file.name} has no column {column!r}; its columns are {', '.join(columns)}")
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


def _drop_rows(db: duckdb.DuckDBPyConnection, users: int | None) -> list[Filter]:
    """Filter the table `raw`, and sample users by the order of a hash; None takes all of them."""
    chosen = "qualify row_number() over (order by md5(user)) > " + str(users or "count(*) over ()")
    rules = {
        "no user, product or time": "user is null or product is null or time is null",
        "product of the user before": """number not in
                    (select first(number order by time, number) from raw group by user, product)""",
        f"users of under {MIN_PRODUCTS} products": f"""user in
                    (select user from raw group by user having count(*) < {MIN_PRODUCTS})""",
        "users beyond those asked for": f"user in (select user from (select distinct user from raw) {chosen})",
    }
    return sources.apply_filters(db, "raw", rules)


def _write_histories(db: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, Any]:
    """Write histories and products as parquet files; return the entries of the report about them."""
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
        db.execute(f"copy ({query}) to '{quote(folder / name)}.parquet' (format parquet)")
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
