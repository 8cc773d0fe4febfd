"""Reviews: read from a source, described, cleaned, sampled and split, in SQL. DuckDB keeps the data on disk."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from datasets import Dataset

from layerwise.errors import InputError
from layerwise.study.config import DATA_PARAMETERS, LABELS, SPLITS, Parameters
from layerwise.study.data import assets, sources
from layerwise.study.data.quality import Filter, QualityReport, SplitSize, UnlabelledReport, load_report
from layerwise.study.data.sources import quote, sha256

HUB = f"{sources.AMAZON}/raw/review_categories/Electronics.jsonl"
COLUMNS = {"rating": pa.float64(), "text": pa.string(), "parent_asin": pa.string(), "timestamp": pa.int64()}
LANGUAGE_TEXTS = 100_000  # at most, spread over the source, whose languages are counted
MIN_REVIEWS_OF_CLASS = 2  # in each split
# Function words that most texts in the language contain; the shares of languages are estimated from them.
FUNCTION_WORDS = {
    "English": "the|and|it|is|this|to|of|for|was|my|not|with|you|very|i",
    "Spanish": "el|la|los|las|que|es|muy|para|con|una|por|pero|lo|se",
    "French": "le|les|des|est|une|pour|avec|pas|très|mais|ce|je",
    "German": "der|die|das|und|ist|nicht|mit|ein|eine|sehr|ich|für",
}


def prepare_reviews(parameters: Parameters) -> QualityReport:
    """Clean the source and split it, in `parameters.reviews_dir`: a parquet file (text, label, product) for each split.

    The splits share no text and, where products are known, no product. A text about several products counts for the
    first of them. Nothing is done if the folder already holds the reviews of the same source, parameters and code.

    Returns:
        The report, which is also written to `quality.json` in the folder.

    Raises:
        InputError: the source cannot be read, or does not hold what the parameters ask for.
    """
    code = sha256(Path(__file__), Path(sources.__file__))
    return sources.prepare_once(
        QualityReport,
        parameters.reviews_dir,
        lambda: _fetch(parameters.source, parameters.reviews_dir),
        parameters.model_dump(include=set(DATA_PARAMETERS)) | {"code_sha256": code},
        lambda file: _prepare(parameters, file, parameters.reviews_dir),
    )


def load_reviews(parameters: Parameters, split: str) -> Dataset:
    """Load a prepared split: a memory-mapped dataset with columns text, label (0 negative, 1 positive) and product.

    Training reviews are in random order. The other splits are sorted by length, so that batches need little padding.
    `train_reviews`, `analysis_reviews` and `selection_reviews` take a random part of their split.

    Raises:
        InputError: the reviews are not prepared.
    """
    file = parameters.reviews_dir / f"{split}.parquet"
    if not file.is_file():
        raise InputError(f"no prepared reviews in {file.parent}: run the notebook training first")
    rows = Dataset.from_parquet(str(file), cache_dir=str(file.parent / "arrow"))
    limit = getattr(parameters, f"{split}_reviews", None)
    rows = rows.take(min(limit or len(rows), len(rows)))
    if split == "train":
        return rows
    return rows.select(np.argsort([len(text) for text in rows["text"]], kind="stable"))


def number_products(reviews: Dataset) -> np.ndarray:
    """Numbers (N,) of the products of reviews, the clusters of `bootstrap_counts`.

    Of the embedded sentences it is the review that each is from. A review without a product has a number of its own.
    """
    units = [f"product {product}" if product is not None else i for i, product in enumerate(reviews["product"])]
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    return np.array([numbers[unit] for unit in units])


def prepare_unlabelled(parameters: Parameters) -> tuple[Dataset, UnlabelledReport]:
    """Clean the texts of the file `pretraining_texts` in the same way as the reviews.

    They may include texts of the training split. Texts of the other splits are left out and, where the file names
    products, all texts about products of those splits.

    Returns:
        A dataset with the column text, and its report.

    Raises:
        InputError: there is no such file, or it holds no text that may be used.
    """
    folder = parameters.run_dir / "unlabelled"
    report = sources.prepare_once(
        UnlabelledReport,
        folder,
        lambda: sources.local_file("pretraining_texts", str(parameters.pretraining_texts), "null"),
        parameters.model_dump(include={"text_column", "product_column", "min_characters", "max_characters"})
        | {
            "reviews_sha256": load_report(parameters.reviews_dir).sha256,
            "code_sha256": sha256(Path(__file__), Path(sources.__file__)),
        },
        lambda file: _prepare_unlabelled(parameters, file, folder),
    )
    return Dataset.from_parquet(str(folder / "texts.parquet"), cache_dir=str(folder / "arrow")), report


def _fetch(source: str, folder: Path) -> Path:
    """Fetch the source as a local file."""
    if source == "embedded":
        return assets.amazon_sentences()
    if source == "hub":
        return sources.stream_table("json", [HUB], COLUMNS, folder / "hub.parquet")
    return sources.local_file("source", source, "embedded, hub")


def _prepare(parameters: Parameters, file: Path, folder: Path) -> dict[str, Any]:
    """Write the splits to the folder; return the entries of the report about them."""
    with sources.open_database(file, "reviews", folder) as (db, scratch):
        _read_source(db, file, parameters)
        source_entries = _describe_source(db)
        filters = _clean(db, parameters)
        _draw_sample(db, parameters)
        _assign_splits(db, parameters)
        splits = _write_splits(db, scratch)
        (folder / "quality.json").unlink(missing_ok=True)  # earlier splits stay until all new ones are written
        for name in SPLITS:
            (scratch / f"{name}.parquet").replace(folder / f"{name}.parquet")
        return source_entries | {
            "filters": filters,
            "lengths": dict(
                _fetch_rows(db, "select length(text) // 25 * 25, count(*) from split group by 1 order by 1")
            ),
            "median_length": db.execute("select median(length(text)) from split").fetchone()[0],
            "splits": splits,
            "sha256": sha256(*(folder / f"{name}.parquet" for name in SPLITS)),
        }


def _prepare_unlabelled(parameters: Parameters, file: Path, folder: Path) -> dict[str, Any]:
    """Write the texts to the folder; return the entries of the report about them."""
    other_splits = [f"'{quote(parameters.reviews_dir / split)}.parquet'" for split in SPLITS if split != "train"]
    with sources.open_database(file, "texts", folder) as (db, _):
        source, product, _ = _find_columns(db, file, parameters, ("text_column", "product_column"))
        text = _to_plain_text(_quote_column(parameters.text_column) + "::varchar")
        db.execute(f"create table other as select text, product from read_parquet([{', '.join(other_splits)}])")
        db.execute(f"""
            create table clean as
            select row_number() over () as number, {text} as text, {product} as product
            from {source}""")
        (rows,) = db.execute("select count(*) from clean").fetchone()
        rules = {
            "no text": "text is null",
            **_make_length_rules(parameters),
            **_DUPLICATE_RULE,
            "text of another split than train": f"trim({_WORDS}) in (select trim({_WORDS}) from other)",
            "product of another split than train": "product in (select product from other)",
        }
        filters = sources.apply_filters(db, "clean", rules)
        if not filters[-1].left:
            dropped = ", ".join(f"{step.dropped:,} as {step.name}" for step in filters if step.dropped)
            raise InputError(
                f"{file.name} holds no text for pretraining, of {rows:,} were left out {dropped or 'none'}"
            )
        texts_file = folder / "texts.parquet"
        (folder / "quality.json").unlink(missing_ok=True)  # it describes the earlier texts
        db.execute(f"copy (select text from clean order by md5(text)) to '{quote(texts_file)}' (format parquet)")
        return {"rows": rows, "filters": filters, "texts": filters[-1].left, "sha256": sha256(texts_file)}


def _read_source(db: duckdb.DuckDBPyConnection, file: Path, parameters: Parameters) -> None:
    """Create the table `raw` (number, text, rating, product, year, negative, positive) from a file.

    A rating is text: a number rounded down to a multiple of 0.5, or the word that labels the text.
    """
    if file.suffix == ".txt":
        _read_sentences(db, file)
    else:
        _read_table(db, file, parameters)


def _read_sentences(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Create the table `raw` from the embedded sentences; the review that a sentence is from replaces the product."""
    db.execute(f"""
            create table raw as
            select row_number() over () as number, text, {_floor_to_halves("score")} as rating,
                   split_part(id, '_', 1) as product, null::int as year,
                   score <= -0.5 as negative, score >= 0.5 as positive
            from read_csv('{quote(file)}', delim = '\t', header = false, quote = '', escape = '',
                          columns = {{'id': 'varchar', 'score': 'double', 'text': 'varchar'}})""")


def _read_table(db: duckdb.DuckDBPyConnection, file: Path, parameters: Parameters) -> None:
    """Create the table `raw` from a file with the columns that the parameters name.

    Raises:
        InputError: a column is missing, or ratings are words although the parameters expect numbers.
    """
    source, product, columns = _find_columns(db, file, parameters, ("text_column", "rating_column", "product_column"))
    # A timestamp is a date, or milliseconds from 1970 to 2099, as in Amazon's reviews. Any other value has no year.
    number, date = "try_cast(timestamp as bigint)", "try_cast(timestamp::varchar as timestamp)"
    moment = f"case when {number} between 0 and 4102444799999 then make_timestamp({number} * 1000) else {date} end"
    year = f"year({moment})" if "timestamp" in columns else "null"
    rating, labels_are_words = _quote_column(parameters.rating_column), isinstance(parameters.negative, str)
    if not labels_are_words:
        numbers, examples = db.execute(f"""
            select count(try_cast(found as double)), list(distinct left(found, 40) order by left(found, 40))[:3]
            from (select {rating}::varchar as found from {source} where {rating} is not null limit 1000)""").fetchone()
        if examples and not numbers:
            raise InputError(
                f"the column {parameters.rating_column!r} of {file.name} holds words, such as {', '.join(examples)}: "
                "say which of them are meant by 'negative' and 'positive'"
            )
    number = f"{rating}::double"
    negative, positive = (
        (
            f"{rating}::varchar = '{quote(parameters.negative)}'",
            f"{rating}::varchar = '{quote(parameters.positive)}'",
        )
        if labels_are_words
        else (f"{number} <= {parameters.negative}", f"{number} >= {parameters.positive}")
    )
    db.execute(f"""
        create table raw as
        select row_number() over () as number, {_quote_column(parameters.text_column)}::varchar as text,
               {f"{rating}::varchar" if labels_are_words else _floor_to_halves(number)} as rating,
               {product} as product, {year}::int as year,
               {negative} as negative, {positive} as positive
        from {source}""")


def _find_columns(
    db: duckdb.DuckDBPyConnection, file: Path, parameters: Parameters, required: tuple[str, ...]
) -> tuple[str, str, list[str]]:
    """Check that a file has the columns that the required parameters name.

    Returns:
        SQL that reads the file, SQL of the product, and the names of all columns.

    Raises:
        InputError: a column is missing.
    """
    source, columns = sources.describe_table(db, file)
    for parameter in required:
        column = getattr(parameters, parameter)
        if column and column not in columns:
            raise InputError(
                f"{file.name} has no column {column!r}; its columns are {', '.join(columns)}: set {parameter!r}"
            )
    product = parameters.product_column or next((name for name in ("parent_asin", "asin") if name in columns), None)
    # A column of whole numbers with a missing value is read as 13.0: the same product as 13 in another file.
    product_sql = f"regexp_replace({_quote_column(product)}::varchar, '\\.0$', '')" if product else "null::varchar"
    return source, product_sql, [*columns]


def _floor_to_halves(number: str) -> str:
    """SQL that rounds a number down to a multiple of 0.5, and gives it as text."""
    return f"(floor({number} * 2) / 2)::varchar"


def _quote_column(column: str) -> str:
    """The name of a column in SQL."""
    return '"' + column.replace('"', '""') + '"'


def _describe_source(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The entries of the report about the table `raw`.

    Raises:
        InputError: the table has no text.
    """
    counts = {
        language: f"len(regexp_extract_all(lower(text), '\\b({words})\\b'))"
        for language, words in FUNCTION_WORDS.items()
    }
    best = f"greatest({', '.join(counts.values())})"
    cases = " ".join(f"when {count} = {best} then '{language}'" for language, count in counts.items())
    rows, texts, unique, products = db.execute(f"""
        select count(*), count(text), count(distinct {_KEY}), count(distinct product) from raw""").fetchone()
    if not texts:
        raise InputError("the source holds no review: give a file with texts and ratings")
    rated = "from raw where rating is not null group by rating order by"
    dated = "from raw where year is not null group by 1 order by 1"
    language = f"""
        select case when {best} = 0 then 'unknown' {cases} end as language
        from raw where text is not null and number % {texts // LANGUAGE_TEXTS + 1} = 0"""
    return {
        "rows": rows,
        "unique_text_ratio": unique / texts,
        "ratings": dict(_fetch_rows(db, f"select rating, count(*) {rated} try_cast(rating as double), rating")),
        "years": dict(_fetch_rows(db, f"select year, count(*) {dated}")),
        "languages": dict(
            _fetch_rows(db, f"select language, count(*) as n from ({language}) group by 1 order by n desc, 1")
        ),
        "products": products or None,
    }


# Two texts are the same if they have the same letters and digits, without regard to case.
_WORDS = "regexp_replace(lower(text), '[^\\p{L}\\p{N}]+', ' ', 'g')"
_KEY = f"md5({_WORDS})"
_DUPLICATE_RULE = {"text seen before": f"number not in (select min(number) from clean group by {_KEY})"}


def _clean(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> list[Filter]:
    """Create the table `clean`, with markup removed from the texts, and filter it."""
    db.execute(f"""
        create table clean as
        select number, {_to_plain_text("text")} as text, product,
               case when negative then 0 when positive then 1 end as label, rating from raw""")
    rules = {
        "no text or no rating": "text is null or rating is null",
        "neutral rating": "label is null",
        **_make_length_rules(parameters),
        **_DUPLICATE_RULE,
    }
    return sources.apply_filters(db, "clean", rules)


def _make_length_rules(parameters: Parameters) -> dict[str, str]:
    """Rules that drop texts that are too short or too long."""
    return {
        f"under {parameters.min_characters} characters": f"length(text) < {parameters.min_characters}",
        f"over {parameters.max_characters} characters": f"length(text) > {parameters.max_characters}",
    }


def _to_plain_text(text: str) -> str:
    """SQL that replaces HTML tags and entities, and puts the text on one line."""
    for entity, character in {
        "&nbsp;": " ",
        "&quot;": '"',
        "&#34;": '"',
        "&#39;": "''",
        "&lt;": "<",
        "&gt;": ">",
    }.items():
        text = f"replace({text}, '{entity}', '{character}')"
    text = f"replace(regexp_replace({text}, '<[a-zA-Z/][^>]*>', ' ', 'g'), '&amp;', '&')"
    return f"trim(regexp_replace({text}, '\\s+', ' ', 'g'))"


def _draw_sample(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> None:
    """Create the table `sample`: as many reviews as asked for, drawn by a hash of their text, so always the same ones.

    Raises:
        InputError: a class has no review, or fewer reviews are left than asked for.
    """
    class_sizes = dict(_fetch_rows(db, "select label, count(*) from clean group by 1"))
    for label, name in enumerate(LABELS):
        if not class_sizes.get(label):
            raise InputError(f"only one class is left: no {name} review survives cleaning; two classes are needed")
    available = 2 * min(class_sizes.values()) if parameters.balanced else sum(class_sizes.values())
    wanted = parameters.reviews or available
    if wanted > available:
        kind = "balanced reviews" if parameters.balanced else "reviews"
        raise InputError(f"{wanted:,} {kind} were asked for and {available:,} are left; lower the parameter 'reviews'")
    order = "order by hash, number"
    chosen = (
        f"row_number() over (partition by label {order}) <= {wanted // 2}"
        if parameters.balanced
        else f"row_number() over ({order}) <= {wanted}"
    )
    db.execute(f"""
        create table sample as
        select text, label, product, number from clean
        where number in (select number from (select number, label, md5(text) as hash from clean) qualify {chosen})""")


def _assign_splits(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> None:
    """Create the table `split`: whole products in the order of a hash, divided among the splits by their fractions."""
    edges = [sum(parameters.fractions[: i + 1]) for i in range(len(SPLITS) - 1)]
    cases = " ".join(f"when middle < {edge} then '{name}'" for name, edge in zip(SPLITS, edges, strict=False))
    db.execute(f"""
        create table split as
        with reviews as (select *, coalesce(product, 'review ' || number) as unit from sample),
             units as (select unit, count(*) as n, md5('split' || unit) as hash from reviews group by unit),
             placed as (select unit, (sum(n) over (order by hash, unit) - n / 2) / sum(n) over () as middle from units)
        select text, label, product, case {cases} else '{SPLITS[-1]}' end as split
        from reviews join placed using (unit)""")


def _write_splits(db: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, SplitSize]:
    """Write each split as a parquet file, and return the sizes of the splits.

    Raises:
        InputError: a split has too few reviews of a class.
    """
    sizes = {}
    for name in SPLITS:
        reviews, positive = db.execute(
            f"select count(*), count(*) filter (label = 1) from split where split = '{name}'"
        ).fetchone()
        if min(positive, reviews - positive) < MIN_REVIEWS_OF_CLASS:
            raise InputError(
                f"the split {name!r} would hold {reviews - positive} negative and {positive} positive reviews and "
                f"needs {MIN_REVIEWS_OF_CLASS} of each: give more reviews, or other fractions"
            )
        sizes[name] = SplitSize(reviews=reviews, positive=positive)
    for name in SPLITS:
        db.execute(f"""
            copy (select text, label, product from split where split = '{name}' order by md5(text))
            to '{quote(folder / name)}.parquet' (format parquet, row_group_size 10000)""")
    return sizes


def _fetch_rows(db: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    return db.execute(query).fetchall()
