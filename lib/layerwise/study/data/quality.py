"""Quality reports: what a source contains, and what the filters drop and keep."""

from pathlib import Path

from pydantic import BaseModel

from layerwise.errors import InputError


class Filter(BaseModel):
    """How many rows a filter dropped, and how many were left after it."""

    name: str
    dropped: int
    left: int


class Report(BaseModel):
    """A source and the files that were written from it.

    Attributes:
        source: name of its file.
        source_sha256: of that file.
        sha256: of the files that were written.
        made_with: parameters and code that decide how the source is prepared.
    """

    source: str
    source_sha256: str
    sha256: str
    made_with: dict


class SplitSize(BaseModel):
    """How many reviews a split has, and how many of them are positive."""

    reviews: int
    positive: int


class QualityReport(Report):
    """Quality of the reviews.

    `lengths`, `median_length` and `splits` describe the reviews that were kept, all else the source before filtering.

    Attributes:
        unique_text_ratio: different texts to all texts.
        ratings, years: number of reviews with each rating, and of each year.
        languages: number of texts in each, estimated from function words in up to 100,000 texts spread over the source.
        products: number of products; None if they are unknown.
        lengths: number of reviews by length in characters, rounded down to a multiple of 25.
        median_length: in characters.
    """

    rows: int
    unique_text_ratio: float
    ratings: dict[str, int]
    years: dict[int, int]
    languages: dict[str, int]
    products: int | None
    filters: list[Filter]
    lengths: dict[int, int]
    median_length: float
    splits: dict[str, SplitSize]


class UnlabelledReport(Report):
    """Texts without labels: `rows` of the source, and the `texts` that were left after the filters."""

    rows: int
    filters: list[Filter]
    texts: int


class InteractionReport(Report):
    """Quality of the interactions: `rows` of the source, all else after the filters.

    Attributes:
        lengths: minimum, quartiles and maximum of the number of products of a user.
        simultaneous: share of interactions at the same time as another one of the same user; their order is unknown.
    """

    rows: int
    filters: list[Filter]
    users: int
    products: int
    interactions: int
    lengths: list[float]
    simultaneous: float


def load_report(folder: Path) -> QualityReport:
    """Load the report of the prepared reviews in a folder.

    Raises:
        InputError: there are no prepared reviews in it.
    """
    file = folder / "quality.json"
    if not file.is_file():
        raise InputError(f"no prepared reviews in {folder}: run the notebook training first")
    return QualityReport.model_validate_json(file.read_text())
