import re
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from test_frontier import make_result
from test_subnetworks import make_table

from layerwise import grading
from layerwise.report import figures, tables
from layerwise.statistics import Interval
from layerwise.study import comparison, records

STUDIES = records.load_studies(records.REFERENCE_STUDIES)
TRUTHS = records.group_by_model(STUDIES, "ground_truth")
FIRST_SEEDS = {name: seeds[min(seeds)] for name, seeds in TRUTHS.items()}
TRUTH = FIRST_SEEDS["electronics: scratch"]
CORE = {name: seeds[min(seeds)] for name, seeds in records.group_by_model(STUDIES, "core_importance").items()}
COMPRESSED = next(iter(records.group_by_model(STUDIES, "compression").values()))
LANGUAGE = records.load_shared_stage("language_model")["electronics"]
RECOMMENDER = records.load_shared_stage("recommender")["movielens"]
DRAWN = {
    "scoreboard": lambda: figures.plot_scoreboard(tables.scoreboard_table(STUDIES)),
    "healing": lambda: figures.plot_healing(tables.contrasts_table(STUDIES)),
    "scores": lambda: figures.plot_scores(
        STUDIES["electronics"]["minilm", 0]["advanced_importance"],
        dict.fromkeys(STUDIES["electronics"]["minilm", 0]["advanced_importance"].scores, "score"),
    ),
    "percentiles": lambda: figures.plot_percentiles(comparison.mean_percentiles(STUDIES)),
    "ablation": lambda: figures.plot_ablation(CORE),
    "rank map": lambda: figures.plot_rank_map(next(iter(CORE.values())).stability),
    "regret": lambda: figures.plot_regret(TRUTH, list(TRUTH.grades)),
    "agreement": lambda: figures.plot_agreement(TRUTH),
    "depths": lambda: figures.plot_depths(FIRST_SEEDS),
    "Shapley values": lambda: figures.plot_shapley_of_models(FIRST_SEEDS),
    "retention": lambda: figures.plot_retention(comparison.retention_rows(STUDIES)),
    "compression": lambda: figures.plot_compression(
        result := COMPRESSED[min(COMPRESSED)], result.whole, {result.plans[0].ratio: result.whole.value}
    ),
    "frontier": lambda: figures.plot_frontier(result := make_result(), result.whole),
    "language model": lambda: figures.plot_language_model(LANGUAGE),
    "pruned": lambda: figures.plot_pruned(LANGUAGE),
    "recommenders": lambda: figures.plot_recommenders(RECOMMENDER.metrics),
    "smaller recommenders": lambda: figures.plot_smaller_recommenders(RECOMMENDER),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


@pytest.fixture
def cloud():
    table = make_table(5, examples=9)
    rng = np.random.default_rng(0)
    truth = grading.grade({name: rng.normal(size=5) for name in ("shap", "fisher", "ablation")}, table, samples=20)
    return table, truth


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_fits_its_column_has_a_title_and_no_letters_under_eight_points(name):
    figure = DRAWN[name]()
    figure.draw_without_rendering()
    assert figure.get_figwidth() == figures.WIDTH
    assert figure.get_tightbbox().width <= figures.WIDTH + 0.05
    assert min(text.get_fontsize() for text in texts(figure)) >= figures.SMALLEST
    assert figure.get_suptitle() or any(axes.get_title(loc="left") for axes in figure.axes)


@pytest.mark.parametrize("name", ["percentiles", "depths", "ablation", "Shapley values", "healing"])
def test_panels_of_one_quantity_have_one_scale(name):
    panels = {}
    for axes in DRAWN[name]().axes:
        panels.setdefault(axes.get_shared_y_axes().get_siblings(axes)[0], set()).add(axes.get_ylim())
    assert all(len(limits) == 1 for limits in panels.values()) and len(panels) <= 2


def test_seven_panels_stand_in_two_rows():
    rows = {round(axes.get_position().y0, 2) for axes in DRAWN["scores"]().axes}
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["regret", "cloud"])
def test_at_most_four_selections_are_in_colour_and_each_has_its_name_beside_it(name, cloud):
    table, truth = cloud
    names = list(truth.grades)
    figure = figures.plot_regret(truth, names) if name == "regret" else figures.plot_subnetworks(table, truth, names)
    axes = figure.axes[0]
    coloured = {line.get_color() for line in axes.lines if not isinstance(line.get_color(), str)}
    named = [text.get_text() for text in axes.texts]
    assert len(coloured) == len(named) <= 4
    best = max(("shap", "fisher", "ablation"), key=lambda name: truth.summary[name].percentile.value)
    assert f"{best}\n(best method)" in named


def test_names_beside_lines_do_not_overlap(cloud):
    figure = figures.plot_regret(TRUTH, list(TRUTH.grades))
    figure.draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 4 and all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_each_point_of_the_cloud_says_which_layers_it_keeps_and_its_value(cloud):
    table, truth = cloud
    figure = figures.plot_subnetworks(table, truth, list(truth.grades))
    page = figures.hoverable(figure, table, 'a "cloud"')
    titles = re.findall(r"<title>(\d) of 5 layers kept: (.*?)\n(.*?)</title>", page)
    assert len(titles) == 2**5 and 'aria-label="a &quot;cloud&quot;"' in page
    for (size, layers, value), mask, expected in zip(titles, table.masks, table.mean_values, strict=True):
        kept = [int(layer) for layer in layers.split(", ")] if layers != "none" else []
        assert kept == np.flatnonzero(mask).tolist() and int(size) == len(kept)
        assert float(value) == pytest.approx(expected, abs=5e-4)
    assert not plt.fignum_exists(figure.number)


def test_the_scoreboard_holds_the_percentile_of_each_run_best_mean_first_and_the_cost():
    board = tables.scoreboard_table(STUDIES)
    assert board.shape[1] == sum(len(seeds) for seeds in TRUTHS.values())
    means = board.mean(axis=1).to_numpy()
    assert (np.diff(means) <= 1e-12).all()
    np.testing.assert_allclose(means, board.index.get_level_values("mean"))
    row = board.xs("block influence", level="selected by").iloc[0]
    assert row["electronics", "scratch", 0] == TRUTH.summary["block_influence"].percentile.value
    passes = dict(zip(board.index.get_level_values("selected by"), board.index.get_level_values("passes"), strict=True))
    assert passes["block influence"] == "1" and passes["random"] == "0"


def test_the_scoreboard_frames_the_best_baseline_of_each_run():
    board = tables.scoreboard_table(STUDIES)
    baselines = board.xs("baseline", level="kind")
    frames = [(frame.get_center()) for frame in figures.plot_scoreboard(board).axes[0].patches]
    assert len(frames) == board.shape[1]
    for run, (x, y) in enumerate(frames):
        assert (x, board.iloc[round(y), run]) == (pytest.approx(run), baselines.iloc[:, run].max())


def test_a_line_of_the_healing_figure_leads_from_the_difference_before_to_that_after():
    before, after = (Interval(value=value, low=0, high=1, n=9) for value in (0.25, 0.01))
    rows = [{"model": "study: tiny", "layers": 3, "choice_before": before, "choice_after": after}]
    rows += [rows[0] | {"choice_after": None}]
    lines = figures.plot_healing(pd.DataFrame(rows)).axes[0].lines
    slopes = [list(line.get_ydata()) for line in lines if list(line.get_xdata()) == [0, 1] and line.get_marker() == "o"]
    assert slopes == [[25, 1]]
