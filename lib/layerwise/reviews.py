"""Reviews: read from a source, cleaned, described and split. All of it is SQL in DuckDB, out of core."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from datasets import Dataset

from layerwise import assets, sources
from layerwise.errors import InputError
from layerwise.parameters import DATA_PARAMETERS, SPLITS, Parameters
from layerwise.reports import Filter, QualityReport, SplitSize, UnlabelledReport
from layerwise.sources import quoted, sha256

HUB = f"{sources.AMAZON}/raw/review_categories/Electronics.jsonl"
COLUMNS = {"rating": pa.float64(), "text": pa.string(), "parent_asin": pa.string(), "timestamp": pa.int64()}
LABELS = ("negative", "positive")
LANGUAGE_TEXTS = 100_000  # the languages are counted in so many texts at the most, spread over the source
SMALLEST_CLASS = 2  # reviews of each class that a split needs at the least

# Function words that a text in the language can hardly do without; the share of languages is a guess from them.
FUNCTION_WORDS = {
    "English": "the|and|it|is|this|to|of|for|was|my|not|with|you|very|i",
    "Spanish": "el|la|los|las|que|es|muy|para|con|una|por|pero|lo|se",
    "French": "le|les|des|est|une|pour|avec|pas|très|mais|ce|je",
    "German": "der|die|das|und|ist|nicht|mit|ein|eine|sehr|ich|für",
}


def prepare(parameters: Parameters) -> QualityReport:
    """Clean and split the source into `parameters.reviews_dir`, one parquet file (text, label, product) a split.

    Does nothing where the folder already holds the reviews of the same source, parameters and code. The splits share no
    text, and no product where products are known; a text that stands under several products counts for the first.

    Returns:
        The report, which is also kept as `quality.json` in the folder.

    Raises:
        InputError: the source cannot be read, or does not hold what the parameters ask for.
    """
    code = sha256(Path(__file__), Path(sources.__file__))
    return sources.once(
        QualityReport,
        parameters.reviews_dir,
        lambda: _fetch(parameters.source, parameters.reviews_dir),
        parameters.model_dump(include=set(DATA_PARAMETERS)) | {"code_sha256": code},
        lambda file: _prepare(parameters, file, parameters.reviews_dir),
    )


def load(parameters: Parameters, split: str) -> Dataset:
    """A prepared split as a memory-mapped dataset with columns text, label (0 negative, 1 positive) and product.

    Training reviews come in random order. Those of the other splits come by length, so that the neighbours in a batch
    need little padding. `train_reviews`, `analysis_reviews` and `selection_reviews` take a random part of their split.
    """
    file = parameters.reviews_dir / f"{split}.parquet"
    if not file.is_file():
        raise InputError(f"no prepared reviews in {file.parent}: run the notebook 1_training first")
    rows = Dataset.from_parquet(str(file), cache_dir=str(file.parent / "arrow"))
    limit = getattr(parameters, f"{split}_reviews", None)
    rows = rows.take(min(limit or len(rows), len(rows)))
    if split == "train":
        return rows
    return rows.select(np.argsort([len(text) for text in rows["text"]], kind="stable"))


def report(parameters: Parameters) -> QualityReport:
    """What is known of the prepared reviews."""
    file = parameters.reviews_dir / "quality.json"
    if not file.is_file():
        raise InputError(f"no prepared reviews in {file.parent}: run the notebook 1_training first")
    return QualityReport.model_validate_json(file.read_text())


def unlabelled(parameters: Parameters) -> tuple[Dataset, UnlabelledReport]:
    """The texts of the file `warm_up`, a column, cleaned as the prepared reviews are, and what was left out of them.

    They may be those of the training split again. What stands in another split is left out, and so is every text on one
    of its products, where the file has the column that names them.

    Raises:
        InputError: there is no such file, or it holds no text that may be used.
    """
    folder = parameters.run_dir / "unlabelled"
    made = sources.once(
        UnlabelledReport,
        folder,
        lambda: sources.local("warm_up", parameters.warm_up, "null"),
        parameters.model_dump(include={"text_column", "product_column", "min_characters", "max_characters"})
        | {"reviews_sha256": report(parameters).sha256, "code_sha256": sha256(Path(__file__), Path(sources.__file__))},
        lambda file: _prepare_unlabelled(parameters, file, folder),
    )
    return Dataset.from_parquet(str(folder / "texts.parquet"), cache_dir=str(folder / "arrow")), made


def _fetch(source: str, folder: Path) -> Path:
    """The local file of a source."""
    if source == "embedded":
        return assets.amazon_sentences()
    if source == "hub":
        return sources.stream("json", [HUB], COLUMNS, folder / "hub.parquet")
    return sources.local("source", source, "embedded, hub")


def _prepare(parameters: Parameters, file: Path, folder: Path) -> dict:
    """Writes the splits; returns what the report says of them."""
    with sources.reading(file, "reviews", folder) as (db, scratch):
        _read(db, file, parameters)
        before = _describe_source(db)
        filters = _clean(db, parameters)
        _sample(db, parameters)
        _split(db, parameters)
        splits = _write(db, scratch)
        (folder / "quality.json").unlink(missing_ok=True)  # earlier splits stand until all of the new ones do
        for name in SPLITS:
            (scratch / f"{name}.parquet").replace(folder / f"{name}.parquet")
        return before | {
            "filters": filters,
            "lengths": dict(_pairs(db, "select length(text) // 25 * 25, count(*) from split group by 1 order by 1")),
            "median_length": db.execute("select median(length(text)) from split").fetchone()[0],
            "splits": splits,
            "sha256": sha256(*(folder / f"{name}.parquet" for name in SPLITS)),
        }


def _prepare_unlabelled(parameters: Parameters, file: Path, folder: Path) -> dict:
    """Writes the texts; returns what the report says of them."""
    others = [f"'{quoted(parameters.reviews_dir / split)}.parquet'" for split in SPLITS if split != "train"]
    with sources.reading(file, "texts", folder) as (db, _):
        source, product, _ = _columns(db, file, parameters, ("text_column", "product_column"))
        db.execute(f"create table other as select text, product from read_parquet([{', '.join(others)}])")
        db.execute(f"""
            create table clean as
            select row_number() over () as number, {_plain(_name(parameters.text_column) + "::varchar")} as text,
                   {product} as product
            from {source}""")
        (rows,) = db.execute("select count(*) from clean").fetchone()
        rules = {
            "no text": "text is null",
            **_of_length(parameters),
            **_SEEN,
            "text of another split than train": f"trim({_WORDS}) in (select trim({_WORDS}) from other)",
            "product of another split than train": "product in (select product from other)",
        }
        filters = sources.drop(db, "clean", rules)
        if not filters[-1].left:
            dropped = ", ".join(f"{step.dropped:,} as {step.name}" for step in filters if step.dropped)
            raise InputError(f"{file.name} holds no text to warm up on, of {rows:,} were left out {dropped or 'none'}")
        written = folder / "texts.parquet"
        (folder / "quality.json").unlink(missing_ok=True)  # it speaks of the earlier texts
        db.execute(f"copy (select text from clean order by md5(text)) to '{quoted(written)}' (format parquet)")
        return {"rows": rows, "filters": filters, "texts": filters[-1].left, "sha256": sha256(written)}


def _read(db: duckdb.DuckDBPyConnection, file: Path, parameters: Parameters) -> None:
    """The table `raw` (number, text, rating, product, year, negative, positive) of the sentences or of any file.

    A rating is text: a number cut to halves, or the word that the file labels the text with.
    """
    if file.suffix == ".txt":  # the embedded sentences: their review stands in for the product
        db.execute(f"""
            create table raw as
            select row_number() over () as number, text, {_halves("score")} as rating,
                   split_part(id, '_', 1) as product, null::int as year,
                   score <= -0.5 as negative, score >= 0.5 as positive
            from read_csv('{quoted(file)}', delim = '\t', header = false, quote = '', escape = '',
                          columns = {{'id': 'varchar', 'score': 'double', 'text': 'varchar'}})""")
        return
    source, product, columns = _columns(db, file, parameters, ("text_column", "rating_column", "product_column"))
    # Milliseconds from 1970 to 2099, as Amazon's reviews have it, or a date; what is neither is of no year.
    number, date = "try_cast(timestamp as bigint)", "try_cast(timestamp::varchar as timestamp)"
    moment = f"case when {number} between 0 and 4102444799999 then make_timestamp({number} * 1000) else {date} end"
    year = f"year({moment})" if "timestamp" in columns else "null"
    rating, words = _name(parameters.rating_column), isinstance(parameters.negative, str)
    if not words:
        numbers, some = db.execute(f"""
            select count(try_cast(found as double)), list(distinct left(found, 40) order by left(found, 40))[:3]
            from (select {rating}::varchar as found from {source} where {rating} is not null limit 1000)""").fetchone()
        if some and not numbers:
            raise InputError(
                f"the column {parameters.rating_column!r} of {file.name} holds words, such as {', '.join(some)}: "
                "say which of them are meant by 'negative' and 'positive'"
            )
    number = f"{rating}::double"
    negative, positive = (
        (f"{rating}::varchar = '{quoted(parameters.negative)}'", f"{rating}::varchar = '{quoted(parameters.positive)}'")
        if words
        else (f"{number} <= {parameters.negative}", f"{number} >= {parameters.positive}")
    )
    db.execute(f"""
        create table raw as
        select row_number() over () as number, {_name(parameters.text_column)}::varchar as text,
               {f"{rating}::varchar" if words else _halves(number)} as rating,
               {product} as product, {year}::int as year,
               {negative} as negative, {positive} as positive
        from {source}""")


def _columns(
    db: duckdb.DuckDBPyConnection, file: Path, parameters: Parameters, wanted: tuple[str, ...]
) -> tuple[str, str, list[str]]:
    """SQL that reads a file and SQL of its product, once the columns that these parameters name are there; and all."""
    source, columns = sources.table(db, file)
    for parameter in wanted:
        column = getattr(parameters, parameter)
        if column and column not in columns:
            raise InputError(
                f"{file.name} has no column {column!r}; its columns are {', '.join(columns)}: set {parameter!r}"
            )
    product = parameters.product_column or next((name for name in ("parent_asin", "asin") if name in columns), None)
    # Whole numbers of which one is missing are read as 13.0, and are to be the same product as 13 elsewhere.
    name = f"regexp_replace({_name(product)}::varchar, '\\.0$', '')" if product else "null::varchar"
    return source, name, [*columns]


def _halves(number: str) -> str:
    """SQL of a number cut to halves, as text."""
    return f"(floor({number} * 2) / 2)::varchar"


def _name(column: str) -> str:
    """A column as SQL names it."""
    return '"' + column.replace('"', '""') + '"'


def _describe_source(db: duckdb.DuckDBPyConnection) -> dict:
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
        "ratings": dict(_pairs(db, f"select rating, count(*) {rated} try_cast(rating as double), rating")),
        "years": dict(_pairs(db, f"select year, count(*) {dated}")),
        "languages": dict(
            _pairs(db, f"select language, count(*) as n from ({language}) group by 1 order by n desc, 1")
        ),
        "products": products or None,
    }


# Two texts are the same when their letters and digits are.
_WORDS = "regexp_replace(lower(text), '[^\\p{L}\\p{N}]+', ' ', 'g')"
_KEY = f"md5({_WORDS})"
_SEEN = {"text seen before": f"number not in (select min(number) from clean group by {_KEY})"}


def _clean(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> list[Filter]:
    """The table `clean`: markup removed, then one filter after the other, each counted."""
    db.execute(f"""
        create table clean as
        select number, {_plain("text")} as text, product,
               case when negative then 0 when positive then 1 end as label, rating from raw""")
    rules = {
        "no text or no rating": "text is null or rating is null",
        "neutral rating": "label is null",
        **_of_length(parameters),
        **_SEEN,
    }
    return sources.drop(db, "clean", rules)


def _of_length(parameters: Parameters) -> dict[str, str]:
    """Rules that drop what is too short or too long from the table `clean`."""
    return {
        f"under {parameters.min_characters} characters": f"length(text) < {parameters.min_characters}",
        f"over {parameters.max_characters} characters": f"length(text) > {parameters.max_characters}",
    }


def _plain(text: str) -> str:
    """SQL that turns HTML remains into plain text on one line."""
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


def _sample(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> None:
    """The table `sample`: as many reviews as asked for, in the order of a hash, which is random and never changes."""
    found = dict(_pairs(db, "select label, count(*) from clean group by 1"))
    for label, name in enumerate(LABELS):
        if not found.get(label):
            raise InputError(f"only one class is left: no {name} review survives cleaning; two classes are needed")
    smaller = min(found.values())
    wanted = parameters.reviews or (2 * smaller if parameters.balanced else sum(found.values()))
    available = 2 * smaller if parameters.balanced else sum(found.values())
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


def _split(db: duckdb.DuckDBPyConnection, parameters: Parameters) -> None:
    """The table `split`: whole products, in the order of a hash, cut where the fractions say."""
    edges = [sum(parameters.fractions[: i + 1]) for i in range(len(SPLITS) - 1)]
    cases = " ".join(f"when middle < {edge} then '{name}'" for name, edge in zip(SPLITS, edges, strict=False))
    db.execute(f"""
        create table split as
        with reviews as (select *, coalesce(product, 'review ' || number) as unit from sample),
             units as (select unit, count(*) as n, md5('split' || unit) as hash from reviews group by unit),
             placed as (select unit, (sum(n) over (order by hash, unit) - n / 2) / sum(n) over () as middle from units)
        select text, label, product, case {cases} else '{SPLITS[-1]}' end as split
        from reviews join placed using (unit)""")


def _write(db: duckdb.DuckDBPyConnection, folder: Path) -> dict[str, SplitSize]:
    sizes = {}
    for name in SPLITS:
        reviews, positive = db.execute(
            f"select count(*), count(*) filter (label = 1) from split where split = '{name}'"
        ).fetchone()
        if min(positive, reviews - positive) < SMALLEST_CLASS:
            raise InputError(
                f"the split {name!r} would hold {reviews - positive} negative and {positive} positive reviews and "
                f"needs {SMALLEST_CLASS} of each: give more reviews, or other fractions"
            )
        sizes[name] = SplitSize(reviews=reviews, positive=positive)
    for name in SPLITS:
        db.execute(f"""
            copy (select text, label, product from split where split = '{name}' order by md5(text))
            to '{quoted(folder / name)}.parquet' (format parquet, row_group_size 10000)""")
    return sizes


def _pairs(db: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    return db.execute(query).fetchall()
