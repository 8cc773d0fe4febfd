"""The foot of a page."""

from layerwise.report.text import describe_run
from layerwise.study import records


def test_the_foot_of_a_page_names_models_and_seeds_in_words():
    result = records.load_studies(["electronics"])["electronics"]["minilm", 1]["training"]
    assert ", model minilm, seed 1, reviews.parquet, commit " in describe_run(result.provenance, "reviews.parquet")
    parameters = {"profile": "quick", "models": ["scratch", "minilm"], "seeds": [0, 1]}
    compared = result.provenance.model_copy(update={"parameters": parameters})
    assert describe_run(compared, "reviews").startswith("profile quick, model scratch, minilm, seed 0, 1, reviews, ")
