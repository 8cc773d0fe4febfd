"""The stages of the study: what each one needs and writes. The workflow makes its rules from this table."""

from dataclasses import dataclass

PREPARED_REVIEWS, PREPARED_INTERACTIONS = "reviews/quality.json", "interactions/quality.json"


@dataclass(frozen=True)
class Stage:
    """A stage, which is a notebook of the same name.

    Attributes:
        name: of its notebook, its result and its page.
        needs: stages whose results it reads.
        shows: stages whose results only its page reads.
        data: file of the profile's folder that says which data were prepared.
        arrays: whether it saves arrays beside its result.
        folders: that it writes beside its result.
        files: that its page writes beside its figures and the book shows.
        shared: whether it runs once for all models and seeds of a profile.
        computes: False if it has no result of its own, only a page.
    """

    name: str
    needs: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    data: str | None = None
    arrays: bool = False
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    shared: bool = False
    computes: bool = True


_SCORES = ("training", "core_importance", "advanced_importance")
STAGES = {
    stage.name: stage
    for stage in (
        Stage("training", data=PREPARED_REVIEWS, folders=("model",)),
        Stage("core_importance", needs=_SCORES[:1], arrays=True),
        Stage("advanced_importance", needs=_SCORES[:2], arrays=True),
        Stage("language_model", data=PREPARED_REVIEWS, shared=True),
        Stage("fusion", needs=_SCORES, shows=("language_model",)),
        Stage("ground_truth", needs=(*_SCORES, "fusion"), arrays=True),
        Stage("compression", needs=(*_SCORES, "fusion", "ground_truth"), arrays=True, folders=("export",)),
        Stage("frontier", needs=(*_SCORES, "fusion", "ground_truth"), shows=("compression",), arrays=True),
        Stage("recommender", data=PREPARED_INTERACTIONS, arrays=True, folders=("recommender/models",), shared=True),
        Stage(
            "comparison",
            needs=(*_SCORES, "fusion", "ground_truth", "compression"),
            shows=("recommender",),
            files=("comparison.md",),
            shared=True,
        ),
        Stage(
            "recorded_runs",
            files=("recorded_runs_healing.png", "recorded_runs_scoreboard.png"),
            shared=True,
            computes=False,
        ),
        Stage(
            "appendix",
            shows=("core_importance", "ground_truth", "recommender", "comparison"),
            shared=True,
            computes=False,
        ),
    )
}
