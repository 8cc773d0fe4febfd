import os

import numpy as np
import pandas as pd
import pytest
from conftest import write

from layerwise.errors import InputError
from layerwise.study.config import Parameters
from layerwise.study.data import interactions
from layerwise.study.data.interactions import load_interactions, prepare_interactions


def make_interactions(users: int = 40, length: int = 6) -> pd.DataFrame:
    """Interactions of users with 20 products, in the layout of Amazon Reviews 2023."""
    draw = np.random.default_rng(0)
    rows = [
        {"user_id": f"U{user}", "parent_asin": f"B{product:02d}", "timestamp": 1_400_000_000_000 + 1000 * time}
        for user in range(users)
        for time, product in enumerate(draw.choice(20, length, replace=False))
    ]
    return pd.DataFrame(rows)


def parameters_for(tmp_path, frame=None, kind="parquet", **values) -> Parameters:
    if frame is not None:
        values["interactions"] = write(frame, tmp_path / f"interactions.{kind}")
    return Parameters.check({"runs": str(tmp_path / "runs")} | values)


def histories_of(parameters) -> list[list[str]]:
    prepare_interactions(parameters)
    histories, products = load_interactions(parameters)
    return [products["name"].loc[history].tolist() for history in histories]


def taken_by(frame) -> dict[str, list[str]]:
    return {user: rows["parent_asin"].tolist() for user, rows in frame.groupby("user_id", sort=False)}


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("product", "time"), [("parent_asin", "timestamp"), ("asin", "position"), ("item_id", "position")]
)
def test_every_format_and_layout_gives_the_same_histories(tmp_path, kind, product, time):
    frame = make_interactions()
    shuffled = frame.sample(frac=1, random_state=0).rename(columns={"parent_asin": product, "timestamp": time})
    histories = histories_of(parameters_for(tmp_path, shuffled, kind))
    assert sorted(histories) == sorted(taken_by(frame).values())


def test_a_product_that_is_taken_again_counts_at_its_first_place(tmp_path):
    frame = make_interactions()
    again = frame.groupby("user_id").head(1).assign(timestamp=frame["timestamp"].max() + 1)
    parameters = parameters_for(tmp_path, pd.concat([again, frame]))
    assert sorted(histories_of(parameters)) == sorted(taken_by(frame).values())
    report = prepare_interactions(parameters)
    assert [step.dropped for step in report.filters] == [0, 40, 0, 0] and report.interactions == len(frame)


def test_users_of_one_or_two_products_are_dropped_and_counted(tmp_path):
    frame = make_interactions()
    few = pd.concat([frame.iloc[:1].assign(user_id="one"), frame.iloc[6:8].assign(user_id="two")])
    twice = frame.iloc[[0, 0, 0]].assign(user_id="the same three times")
    parameters = parameters_for(tmp_path, pd.concat([frame, few, twice]))
    assert len(histories_of(parameters)) == 40
    assert {step.name: step.dropped for step in prepare_interactions(parameters).filters} == {
        "no user, product or time": 0,
        "product of the user before": 2,
        "users of under 3 products": 4,
        "users beyond those asked for": 0,
    }


def test_products_of_the_same_time_keep_the_order_of_the_source_and_are_counted(tmp_path):
    frame = make_interactions()
    frame.loc[frame.groupby("user_id").cumcount() >= 3, "timestamp"] = frame["timestamp"].max()  # three of six
    parameters = parameters_for(tmp_path, frame)
    assert sorted(histories_of(parameters)) == sorted(taken_by(frame).values())
    assert prepare_interactions(parameters).simultaneous == 0.5


def test_rows_without_a_user_a_product_or_a_time_are_dropped_and_counted(tmp_path):
    frame = make_interactions()
    holes = pd.concat([frame.iloc[[0]].assign(**{column: None}) for column in frame.columns])
    parameters = parameters_for(tmp_path, pd.concat([frame, holes]).astype({"timestamp": "Int64"}))
    assert sorted(histories_of(parameters)) == sorted(taken_by(frame).values())
    assert prepare_interactions(parameters).filters[0].dropped == 3


def test_a_sample_of_users_is_always_the_same_part_of_all_users(tmp_path):
    whole, part = (
        histories_of(parameters_for(tmp_path, make_interactions(), users=n, profile=f"p{n}")) for n in (None, 30)
    )
    assert len(part) == 30 and whole[:30] == part  # users are in the order of a hash


def test_three_files_streamed_from_the_hub_give_the_same_histories(tmp_path, monkeypatch):
    frame = make_interactions()
    place = frame.groupby("user_id").cumcount(ascending=False)
    files = []
    for name, rows in (("train", frame[place > 1]), ("valid", frame[place == 1]), ("test", frame[place == 0])):
        files.append(str(tmp_path / f"Electronics.{name}.csv"))
        rows.assign(rating=5.0).to_csv(files[-1], index=False)
    monkeypatch.setattr(interactions, "HUB", files)
    assert sorted(histories_of(parameters_for(tmp_path, interactions="hub"))) == sorted(taken_by(frame).values())


def test_without_a_network_the_hub_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(interactions, "HUB", ["http://127.0.0.1:9/Electronics.train.csv"])
    with pytest.raises(InputError, match=r"cannot stream .*Electronics\.train\.csv.*is there a network"):
        prepare_interactions(parameters_for(tmp_path, interactions="hub"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda frame: frame.drop(columns="user_id"),
            "has no column 'user_id'; its columns are parent_asin, timestamp",
        ),
        (lambda frame: frame.drop(columns="parent_asin"), "has no column 'item_id'"),
        (lambda frame: frame.drop(columns="timestamp"), "has no column 'timestamp'"),
        (lambda frame: frame.assign(timestamp="yesterday"), "the column 'timestamp' .* holds text"),
        (lambda frame: frame.iloc[:0], "holds no interaction"),
        (lambda frame: frame.groupby("user_id").head(1), "leaves 0 users of 3 different products or more, and 30 are"),
        (lambda frame: frame.head(60), "leaves 10 users of 3 different products or more, and 30 are needed"),
    ],
)
def test_unusable_interactions_are_refused_in_one_sentence(tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        prepare_interactions(parameters_for(tmp_path, change(make_interactions())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("content", [b"", os.urandom(2000)])
def test_an_empty_or_a_corrupt_file_is_refused_in_one_sentence(tmp_path, kind, content):
    file = tmp_path / f"broken.{kind}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"broken.{kind}"):
        prepare_interactions(parameters_for(tmp_path, interactions=str(file)))


def test_a_missing_file_is_refused_with_a_list_of_possible_sources(tmp_path):
    with pytest.raises(InputError, match=r"there is no file.*interactions is movielens, hub, or a \.parquet, \.csv"):
        prepare_interactions(parameters_for(tmp_path, interactions=str(tmp_path / "nowhere.csv")))


def test_more_users_than_there_are_are_refused(tmp_path):
    with pytest.raises(InputError, match="leaves 40 users .* and 50 are needed.*lower the parameter 'users'"):
        prepare_interactions(parameters_for(tmp_path, make_interactions(), users=50))


def test_a_refused_source_leaves_earlier_prepared_histories_unchanged(tmp_path):
    good = parameters_for(tmp_path, make_interactions())
    before = histories_of(good)
    make_interactions(12).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(InputError):
        prepare_interactions(good.model_copy(update={"interactions": str(tmp_path / "few.csv")}))
    assert histories_of(good) == before


def test_movielens_has_the_expected_users_products_and_interactions(tmp_path):
    report = prepare_interactions(parameters_for(tmp_path))
    assert (report.users, report.products, report.interactions) == (943, 1682, 100_000)
    histories, products = load_interactions(parameters_for(tmp_path))
    assert products["title"].iloc[0] == "Toy Story (1995)"
    assert all(len(set(history)) == len(history) for history in histories)


@pytest.mark.skipif(
    "LAYERWISE_INTERACTIONS" not in os.environ, reason="LAYERWISE_INTERACTIONS names no file of purchases"
)
def test_real_purchases_hold_no_product_twice(tmp_path):
    parameters = parameters_for(tmp_path, interactions=os.environ["LAYERWISE_INTERACTIONS"])
    histories = histories_of(parameters)
    assert len(histories) == prepare_interactions(parameters).users
    assert all(len(set(history)) == len(history) >= 3 for history in histories)
