"""What is said of a table that was read: its quality reports, which stages carry in their results."""

from pydantic import BaseModel


class Filter(BaseModel):
    """What one rule dropped, and how many rows it left."""

    name: str
    dropped: int
    left: int


class Report(BaseModel):
    """What was read and what was made of it; `sha256` is that of the files that were written."""

    source: str
    source_sha256: str
    sha256: str
    made_with: dict


class SplitSize(BaseModel):
    """Reviews and positive reviews of a split."""

    reviews: int
    positive: int


class QualityReport(Report):
    """What the reviews are like: all of the source as it came, but `lengths` and `splits` of what was kept.

    `languages` are a guess, from function words, in up to 100,000 texts spread over the source.
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
    """Texts without labels: `rows` as they came, `filters` that left `texts` of them."""

    rows: int
    filters: list[Filter]
    texts: int


class InteractionReport(Report):
    """What the interactions are like: `rows` as they came, the rest after cleaning.

    `lengths` are quantiles of the products a user: least, quartiles, most. `simultaneous` is the share of interactions
    whose time another one of the same user has, so that nothing says which of them came first.
    """

    rows: int
    filters: list[Filter]
    users: int
    products: int
    interactions: int
    lengths: list[float]
    simultaneous: float
