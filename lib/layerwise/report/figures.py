"""Figures of the pages, a function each. They draw results and compute none."""

from collections.abc import Iterable, Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from layerwise.budget import CompressionPlan
from layerwise.grading import Grading, is_baseline
from layerwise.ranking import is_fused
from layerwise.statistics import Interval, Stability
from layerwise.study.data.quality import QualityReport
from layerwise.study.schemas import (
    FROM_SCRATCH,
    Candidate,
    CompressionResult,
    CoreImportanceResult,
    FusionResult,
    LanguageModelResult,
    LayerScoreResult,
    RecommenderMetrics,
    RecommenderResult,
    SmallerRecommender,
    TrainingResult,
)
from layerwise.subnetworks import SubnetworkTable

sns.set_theme(style="whitegrid", palette="colorblind", rc={"figure.dpi": 120, "savefig.dpi": 150})
BLUE, ORANGE, GREEN = sns.color_palette("colorblind")[:3]


def plot_quality(report: QualityReport) -> Figure:
    """Ratings and years of the source, lengths of the reviews kept, and the reviews left after each filter."""
    figure, ((ratings, years), (lengths, filters)) = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    sns.barplot(x=list(report.ratings), y=list(report.ratings.values()), color=BLUE, ax=ratings)
    ratings.set(title="Ratings in the source", xlabel="rating", ylabel="reviews")
    ratings.xaxis.set_major_locator(MaxNLocator(9))

    if report.years:
        sns.barplot(x=list(report.years), y=list(report.years.values()), color=BLUE, ax=years)
        years.set(xlabel="year", ylabel="reviews")
        years.xaxis.set_major_locator(MaxNLocator(6))
    else:
        years.text(0.5, 0.5, "this source has no dates", ha="center", va="center", transform=years.transAxes)
        years.set(xticks=[], yticks=[])
    years.set_title("Years of the source")

    lengths.bar(list(report.lengths), list(report.lengths.values()), width=25, align="edge", color=BLUE)
    lengths.set(title="Lengths of the reviews kept", xlabel="characters", ylabel="reviews")

    steps = ["source", *(step.name for step in report.filters)]
    left = [report.rows, *(step.left for step in report.filters)]
    bars = filters.barh(steps, left, color=BLUE)
    filters.bar_label(bars, [f"{n:,}" for n in left], padding=3, fontsize="small")
    filters.invert_yaxis()
    filters.margins(x=0.2)
    filters.set(title="Reviews left after each filter", xlabel="reviews")
    return figure


def plot_training_curves(history: list[dict], baseline: Interval) -> Figure:
    """Loss and accuracy over the epochs, and the interval of the linear classifier."""
    figure, (losses, accuracies) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    steps = [row for row in history if "loss" in row]
    evaluations = [row for row in history if "eval_accuracy" in row]
    epochs = [row["epoch"] for row in evaluations]
    losses.plot([row["epoch"] for row in steps], [row["loss"] for row in steps], color=BLUE, label="training")
    losses.plot(epochs, [row["eval_loss"] for row in evaluations], "o--", color=ORANGE, label="validation")
    losses.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    losses.legend()

    accuracies.plot(epochs, [row["eval_accuracy"] for row in evaluations], "o--", color=ORANGE, label="validation")
    accuracies.axhspan(baseline.low, baseline.high, color=GREEN, alpha=0.2)
    accuracies.axhline(baseline.value, color=GREEN, label="TF-IDF, test split")
    accuracies.set(xlabel="epoch", ylabel="accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1))
    accuracies.legend()
    return figure


def plot_gradient_norms(history: list[dict]) -> Figure:
    """Gradient norm of each layer at each recorded step of training: a heat map, deepest layer on top."""
    rows = [row for row in history if "layer_gradient_norms" in row]
    norms = np.array([row["layer_gradient_norms"] for row in rows]).T
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    edges = np.append([0], [row["step"] for row in rows])
    mesh = axes.pcolormesh(edges, np.arange(len(norms) + 1) - 0.5, norms, norm=LogNorm(), cmap="viridis")
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="training step", ylabel="layer")
    figure.colorbar(mesh, label="gradient norm before clipping")
    return figure


def plot_scores(result: LayerScoreResult, units: dict[str, str]) -> Figure:
    """Scores of the layers by each method, with intervals; the axis is logarithmic where all are above zero."""
    figure, panels = plt.subplots(1, len(units), figsize=(3.1 * len(units), 3.6), layout="constrained", squeeze=False)
    for axes, (method, unit) in zip(panels[0], units.items(), strict=True):
        _plot_layers(axes, result.scores[method], result.intervals[method])
        if np.min(result.intervals[method]) > 0:
            axes.set_yscale("log")
        else:
            axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=method.replace("_", " "), xlabel="layer", ylabel=unit)
    return figure


def plot_rank_intervals(result: LayerScoreResult) -> Figure:
    """Rank of each layer by each method, with intervals."""
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    methods = list(result.stability)
    for place, (method, colour) in enumerate(zip(methods, sns.color_palette("colorblind"), strict=False)):
        low, high = np.array(result.stability[method].rank_intervals).T
        layers = np.arange(len(low)) + (place - (len(methods) - 1) / 2) * 0.2
        axes.vlines(layers, low, high, color=colour, linewidth=3, alpha=0.5)
        axes.plot(layers, result.stability[method].ranks, "o", color=colour, label=method)
    axes.set(xlabel="layer", ylabel="rank (1 = most important)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()
    axes.legend(ncols=len(methods), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def plot_accuracies(trained: dict[str, dict[int, TrainingResult]], claimed: float) -> Figure:
    """Test accuracy of every seed of each model and of the linear classifier, with intervals, and the claimed one."""
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.5 * len(trained)), layout="constrained")
    for row, seeds in enumerate(trained.values()):
        linear = next(iter(seeds.values())).baseline.accuracy
        axes.barh(row, linear.high - linear.low, left=linear.low, height=0.7, color=ORANGE, alpha=0.25, linewidth=0)
        axes.vlines(linear.value, row - 0.35, row + 0.35, color=ORANGE, label="TF-IDF, logistic regression")
        places = row + 0.18 * (np.arange(len(seeds)) - (len(seeds) - 1) / 2)
        accuracies = [result.test.accuracy for result in seeds.values()]
        axes.hlines(places, [each.low for each in accuracies], [each.high for each in accuracies], color=BLUE)
        axes.plot([each.value for each in accuracies], places, "o", color=BLUE, label="Transformer, each seed")
    axes.axvline(claimed, color="0.4", linestyle="--", label="claimed")
    axes.set_yticks(range(len(trained)), list(trained))
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="accuracy, test split")
    _legend_below(figure, [axes], columns=3)
    return figure


def plot_percentiles(percentiles: dict[str, dict[str, Interval]]) -> Figure:
    """Mean percentile of each method, fusion and baseline, with intervals: a panel a model."""
    names = list(dict.fromkeys(name for methods in percentiles.values() for name in methods))
    figure, panels = _grid(len(percentiles), 2.9, 1 + 0.28 * len(names), sharey=True)
    for axes, (model, methods) in zip(panels, percentiles.items(), strict=True):
        for row, name in enumerate(names):
            if name in methods:
                colour = "0.5" if is_baseline(name) else "black" if is_fused(name) else BLUE
                axes.hlines(row, methods[name].low, methods[name].high, color=colour)
                axes.plot(methods[name].value, row, "s" if is_baseline(name) else "o", color=colour)
        axes.axvline(0.5, color="0.4", linewidth=1)
        axes.set(title=model, xlabel="mean percentile", xlim=(0, 1), xticks=(0, 0.5, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panels[0].invert_yaxis()
    return figure


def plot_ablation(results: dict[str, CoreImportanceResult]) -> Figure:
    """Log-probability (above) and accuracy (below) lost without each layer, for every model."""
    figure, panels = plt.subplots(
        2, len(results), figsize=(1.5 + 3.6 * len(results), 5.6), sharey="row", layout="constrained", squeeze=False
    )
    for (name, result), (upper, lower) in zip(results.items(), panels.T, strict=True):
        for axes, values, bounds in (
            (upper, result.scores["ablation"], result.intervals["ablation"]),
            (lower, result.accuracy_drop, result.accuracy_drop_intervals),
        ):
            _plot_layers(axes, values, bounds)
            axes.axhline(0, color="0.4", linewidth=1)
        upper.set_title(name)
        lower.set_xlabel("layer left out")
        lower.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("log-probability lost (nats)")
    panels[1, 0].set_ylabel("accuracy lost")
    return figure


def plot_rank_map(stability: dict[str, Stability]) -> Figure:
    """Rank of each layer by each method, with its interval: a heat map of methods and layers."""
    ranks = np.array([each.ranks for each in stability.values()])
    depth = ranks.shape[1]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.5 * len(ranks)), layout="constrained")
    image = axes.imshow(ranks, cmap="cividis_r", vmin=1, vmax=depth, aspect="auto")
    for row, each in enumerate(stability.values()):
        for layer, (rank, (low, high)) in enumerate(zip(each.ranks, each.rank_intervals, strict=True)):
            axes.text(
                layer,
                row,
                f"{rank}\n{low:.0f}\u2013{high:.0f}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if rank > depth / 2 else "black",
            )
    axes.grid(False)
    axes.set_xticks(range(depth))
    axes.set_yticks(range(len(ranks)), [name.replace("_", " ") for name in stability])
    axes.set(xlabel="layer")
    figure.colorbar(image, label="rank (1 = most important)")
    return figure


def plot_regret(truth: Grading, methods: list[str]) -> Figure:
    """Regret of each method over the sizes, and the range of 90 % of all sub-networks."""
    sizes = list(truth.sizes)[1:-1]
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    best = np.array([truth.sizes[k].best.value for k in sizes])
    quantiles = np.array([truth.sizes[k].quantiles for k in sizes])
    axes.fill_between(
        sizes, best - quantiles[:, 1], best - quantiles[:, 5], color="0.85", label="90 % of sub-networks", linewidth=0
    )
    axes.plot(sizes, best - quantiles[:, 3], color="0.5", linestyle=":", label="median")
    axes.axhline(0, color="black", linewidth=1, label="best")
    axes.plot(sizes, [truth.sizes[k].best.value - truth.sizes[k].greedy.value for k in sizes], "k--", label="greedy")
    for method, style in _styles(methods).items():
        axes.plot(sizes, [truth.grades[method][k].regret for k in sizes], label=method.replace("_", " "), **style)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layers kept", ylabel="regret (accuracy)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def plot_subnetworks(table: SubnetworkTable, truth: Grading, methods: list[str], measure: str = "accuracy") -> Figure:
    """The metric of every sub-network over the layers that it keeps, and the selections of each method."""
    figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
    spread = np.random.default_rng(0).uniform(-0.32, 0.32, len(table.masks))
    axes.plot(table.sizes + spread, table.mean_values, ".", color="0.72", markersize=2.5, zorder=1, rasterized=True)
    sizes = list(truth.sizes)
    axes.plot(sizes, [truth.sizes[k].best.value for k in sizes], color="black", linewidth=1, label="best of the size")
    axes.plot(sizes, [truth.sizes[k].mean for k in sizes], color="black", linestyle=":", linewidth=1, label="mean")
    offsets = np.linspace(-0.25, 0.25, len(methods))
    for (method, style), offset in zip(_styles(methods).items(), offsets, strict=True):
        values = [truth.grades[method][k].value for k in sizes[1:-1]]
        marker = {key: style[key] for key in ("color", "marker")}
        axes.plot(
            np.array(sizes[1:-1]) + offset, values, linestyle="", markersize=5, label=method.replace("_", " "), **marker
        )
    if measure == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layers kept", ylabel=measure)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def plot_agreement(truth: Grading | FusionResult) -> Figure:
    """Kendall's tau of every two rankings, with its interval: the lower half of a matrix."""
    tau, low, high = (np.array(m) for m in (truth.agreement, truth.agreement_low, truth.agreement_high))
    names = [name.replace("_", " ") for name in truth.ranked]
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.45 * len(names)), layout="constrained")
    image = axes.imshow(
        np.ma.masked_where(np.triu(np.ones_like(tau), 1) > 0, tau), cmap="RdBu", vmin=-1, vmax=1, aspect="auto"
    )
    for i in range(len(names)):
        for j in range(i):
            axes.text(
                j,
                i,
                f"{tau[i, j]:.2f}\n{low[i, j]:.1f}, {high[i, j]:.1f}",
                ha="center",
                va="center",
                fontsize=min(6.5, 90 / len(names)),
                color="white" if abs(tau[i, j]) > 0.6 else "black",
            )
    axes.grid(False)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    empty = axes.inset_axes((0.55, 0.92, 0.42, 0.03))  # in the upper half
    figure.colorbar(image, cax=empty, orientation="horizontal", label="Kendall's tau")
    return figure


def plot_interactions(truth: Grading) -> Figure:
    """Interaction of every two layers: red where they replace each other, blue where they need each other."""
    depth = len(truth.shapley)
    values = np.full((depth, depth), np.nan)
    figure, axes = plt.subplots(figsize=(7.5, 5.6), layout="constrained")
    assert truth.interactions is not None, "a sampled table has no interactions"
    for pair, interaction in truth.interactions.items():
        i, j = map(int, pair.split("-"))
        values[j, i] = interaction.value
        if interaction.low > 0 or interaction.high < 0:
            axes.text(i, j, "*", ha="center", va="center", color="black")
    limit = np.nanmax(np.abs(values))
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.grid(False)
    axes.set_xticks(range(depth))
    axes.set_yticks(range(depth))
    axes.set(xlabel="layer", ylabel="layer")
    figure.colorbar(image, label="Shapley interaction (nats)")
    return figure


def plot_shapley(truth: Grading) -> Figure:
    """Shapley value of each layer, and the log-probability lost when it alone is left out."""
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    _plot_layers(axes, truth.shapley, truth.shapley_intervals, shift=-0.1, label="Shapley value")
    _plot_layers(
        axes, truth.leave_one_out, truth.leave_one_out_intervals, shift=0.1, color=ORANGE, label="left out alone"
    )
    axes.axhline(0, color="0.4", linewidth=1)
    axes.set(xlabel="layer", ylabel="log-probability (nats)")
    axes.legend()
    return figure


def plot_depths(truths: dict[str, Grading]) -> Figure:
    """Accuracy over the layers kept, for every model: the best sub-network, the mean, and the range of 90 % of all."""
    figure, panels = _grid(len(truths), 4.2, 3.8, sharey=True)
    for axes, (name, truth) in zip(panels, truths.items(), strict=True):
        sizes = list(truth.sizes)
        quantiles = np.array([truth.sizes[k].quantiles for k in sizes])
        axes.fill_between(
            sizes, quantiles[:, 1], quantiles[:, 5], color="0.85", label="90 % of sub-networks", linewidth=0
        )
        axes.plot(sizes, [truth.sizes[k].mean for k in sizes], color="0.4", linestyle=":", label="mean")
        axes.plot(sizes, [truth.sizes[k].best.value for k in sizes], color=BLUE, label="best")
        axes.plot(
            sizes, [truth.sizes[k].best.held_out for k in sizes], "--", color=BLUE, label="best, on other reviews"
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(title=name, xlabel="layers kept")
    panels[0].set_ylabel("accuracy")
    panels[-1].legend(fontsize="small")
    return figure


def plot_language_model(result: LanguageModelResult) -> Figure:
    """Block Influence of each layer, and perplexity and zero-shot accuracy without it."""
    figure, (turned, text, answers) = plt.subplots(3, 1, figsize=(9, 7.6), sharex=True, layout="constrained")
    _plot_layers(turned, result.block_influence, result.block_influence_intervals)
    turned.set(ylabel="Block Influence", yscale="log")
    for axes, without_each, whole, label in (
        (text, result.perplexity_without_each, result.perplexity, "perplexity without it"),
        (answers, result.accuracy_without_each, result.accuracy, "accuracy without it"),
    ):
        _plot_intervals(axes, range(len(without_each)), without_each, fmt="o", color=BLUE)
        axes.axhline(whole.value, color="0.4", linestyle="--", linewidth=1)
        axes.set_ylabel(label)
    text.set_yscale("log")
    answers.axhline(result.majority_accuracy, color="0.4", linestyle=":", linewidth=1)
    answers.yaxis.set_major_formatter(PercentFormatter(1))
    answers.xaxis.set_major_locator(MaxNLocator(integer=True))
    answers.set_xlabel("layer")
    return figure


def plot_angular_distance(result: LanguageModelResult) -> Figure:
    """Angular distance over every block of layers, by its first layer (x) and its length (y)."""
    distances = np.array(result.angular_distance)
    depth = len(distances)
    by_length = np.full((depth, depth), np.nan)
    for length in range(1, depth + 1):
        by_length[length - 1, : depth - length + 1] = np.diagonal(distances, offset=length)
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    image = axes.pcolormesh(np.arange(depth + 1) - 0.5, np.arange(depth + 1) + 0.5, by_length, cmap="cividis")
    axes.plot(np.nanargmin(by_length, axis=1), np.arange(1, depth + 1), "o", color="white", mfc="none", markersize=5)
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="first layer of the block", ylabel="layers in the block")
    figure.colorbar(image, label="angular distance (share of \u03c0)")
    return figure


def plot_pruned(result: LanguageModelResult) -> Figure:
    """Perplexity and zero-shot accuracy over the layers kept, a line for each method of selection."""
    figure, (text, answers) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    methods = list(dict.fromkeys(pruned.method for pruned in result.pruned))
    for (method, style), shift in zip(_styles(methods).items(), np.linspace(-0.3, 0.3, len(methods)), strict=True):
        models = [pruned for pruned in result.pruned if pruned.method == method]
        sizes = np.array([len(model.layers) for model in models]) + shift
        _plot_intervals(text, sizes, [model.perplexity for model in models], label=method, **style)
        _plot_intervals(answers, sizes, [model.accuracy for model in models], label=method, **style)
    text.axhline(result.perplexity_unpruned.value, color="0.4", linestyle="--", linewidth=1)
    answers.axhline(result.accuracy_unpruned.value, color="0.4", linestyle="--", linewidth=1)
    answers.axhline(result.majority_accuracy, color="0.4", linestyle=":", linewidth=1)
    text.set(xlabel="layers kept", ylabel="perplexity", yscale="log")
    answers.set(xlabel="layers kept", ylabel="zero-shot accuracy")
    answers.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (text, answers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*text.get_legend_handles_labels(), loc="outside upper center", ncols=len(methods))
    return figure


def plot_thirds(places: dict[str, list[Interval]]) -> Figure:
    """Mean place of early, middle and late layers in each ranking that has thirds, with intervals: a row a ranking."""
    rankings = {name: thirds for name, thirds in places.items() if thirds}
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.38 * len(rankings)), layout="constrained")
    for third, (name, colour, marker) in enumerate(
        (("early", BLUE, "o"), ("middle", ORANGE, "s"), ("late", GREEN, "D"))
    ):
        rows = np.arange(len(rankings)) + (third - 1) * 0.2
        values = [thirds[third] for thirds in rankings.values()]
        axes.hlines(rows, [each.low for each in values], [each.high for each in values], color=colour)
        axes.plot([each.value for each in values], rows, marker, color=colour, label=name)
    axes.axvline(0.5, color="0.4", linewidth=1)
    axes.set_yticks(range(len(rankings)), [name.replace("_", " ") for name in rankings])
    axes.invert_yaxis()
    axes.set(xlabel="mean place in the ranking (1: all others are less important)", xlim=(0, 1))
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def plot_compression(result: CompressionResult, baseline: Interval, claims: dict[float, float]) -> Figure:
    """Accuracy of smaller models over the ratio of parameters, unhealed and healed, and the claimed accuracies."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5.6), sharey=True, layout="constrained")
    _plot_smaller_models(panels, result.plans, result.candidates, "accuracy")
    for axes in panels:
        axes.plot(list(claims), list(claims.values()), "x", color="red", markersize=9, label="claimed, not measured")
        for interval, colour, label in (
            (result.whole, "0.4", "whole model"),
            (baseline, GREEN, "linear classifier"),
        ):
            axes.axhspan(interval.low, interval.high, color=colour, alpha=0.12, linewidth=0)
            axes.axhline(interval.value, color=colour, linewidth=1, label=label)
        for plan in result.plans:
            if plan.trimmed:
                place = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "top", "ha": "right"}
                axes.axvline(plan.reached, color="0.5", linestyle=":", linewidth=1)
                axes.text(plan.reached, 0.98, "vocabulary trimmed", fontsize="x-small", color="0.3", **place)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("accuracy, test split")
    _legend_below(figure, panels, columns=5)
    return figure


def plot_retention(rows: list[dict]) -> Figure:
    """Share of the accuracy that smaller models keep over the layers kept: healed selections and all baselines."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, panels = _grid(len(models), 4.5, 4.2, sharey=True)
    for axes, model in zip(panels, models, strict=True):
        smaller = [row for row in rows if row["model"] == model and row["layers"]]
        healed_names = list(dict.fromkeys(row["name"] for row in smaller if row["healed"]))
        others = [row for row in smaller if row["name"] not in healed_names and is_baseline(row["name"])]
        layers, kept = [row["layers"] for row in others], [row["kept"] for row in others]
        axes.plot(layers, kept, "_", color="0.6", label="other baselines")
        for name, style in _styles([*healed_names, FROM_SCRATCH]).items():
            for healed in (False, True):
                line = [row for row in smaller if (row["name"], row["healed"]) == (name, healed)]
                if line:
                    line.sort(key=lambda row: row["layers"])
                    shares = [Interval(value=row["kept"], low=row["low"], high=row["high"], n=0) for row in line]
                    label = name.replace("_", " ") + (", healed" if healed else "")
                    look = style | {"linestyle": "-" if healed else ":"}
                    _plot_intervals(axes, [row["layers"] for row in line], shares, label=label, **look)
        axes.axhline(1, color="0.4", linewidth=1)
        axes.set(title=model, xlabel="layers kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("share of the whole model's accuracy")
    _legend_below(figure, panels, columns=3)
    return figure


def plot_latency(result: CompressionResult) -> Figure:
    """Accuracy over the time that a batch takes, for each runtime; each point is labelled with its ratio."""
    if not result.timings:
        figure, axes = plt.subplots(figsize=(9, 1))
        axes.text(0.5, 0.5, "no model was exported", ha="center")
        axes.set_axis_off()
        return figure
    sizes = sorted({timing.batch for timing in result.timings})
    figure, panels = plt.subplots(1, len(sizes), figsize=(9, 4), sharey=True, layout="constrained", squeeze=False)
    accuracies = {
        (each.ratio, name): metrics.accuracy for each in result.exported for name, metrics in each.metrics.items()
    }
    names = {1.0: "1x"} | {plan.ratio: plan.at for plan in result.plans}
    runtimes = list(dict.fromkeys(timing.runtime for timing in result.timings))
    for axes, size in zip(panels[0], sizes, strict=True):
        for runtime, colour, marker in zip(runtimes, (BLUE, ORANGE, GREEN), "osD", strict=True):
            timings = [timing for timing in result.timings if (timing.runtime, timing.batch) == (runtime, size)]
            values = [accuracies[timing.ratio, runtime] for timing in timings]
            times = [timing.milliseconds for timing in timings]
            _plot_intervals(axes, times, values, fmt=marker, color=colour, label=runtime.replace("_", " "))
            for timing, accuracy in zip(timings, values, strict=True):
                axes.annotate(
                    names[timing.ratio],
                    (timing.milliseconds, accuracy.value),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize="x-small",
                )
        axes.set(title=f"{size} review{'s' if size > 1 else ''}", xlabel="milliseconds", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("accuracy, test split")
    panels[0, -1].legend()
    return figure


def plot_recommenders(metrics: dict[str, RecommenderMetrics]) -> Figure:
    """Three metrics of each recommender, with intervals: a row a recommender."""
    figure, panels = plt.subplots(
        1, 3, figsize=(9, 1.3 + 0.32 * len(metrics)), sharey=True, layout="constrained", squeeze=False
    )
    rows = range(len(metrics))
    for axes, (metric, label) in zip(
        panels[0], (("hit_rate_10", "HR@10"), ("ndcg_10", "NDCG@10"), ("mrr", "MRR")), strict=True
    ):
        values = [getattr(each, metric) for each in metrics.values()]
        axes.hlines(rows, [each.low for each in values], [each.high for each in values], color=BLUE)
        axes.plot([each.value for each in values], rows, "o", color=BLUE)
        axes.set(xlabel=label, xlim=(0, None))
    panels[0, 0].set_yticks(rows, [name.replace("_", " ") for name in metrics])
    panels[0, 0].invert_yaxis()
    return figure


def plot_shapley_of_models(truths: dict[str, Grading]) -> Figure:
    """Shapley values of the layers of several models, with intervals: a panel a model."""
    figure, panels = _grid(len(truths), 3.4, 3.6)
    for axes, (name, truth) in zip(panels, truths.items(), strict=True):
        _plot_layers(axes, truth.shapley, truth.shapley_intervals)
        axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=name, xlabel="layer")
    panels[0].set_ylabel("Shapley value (nats)")
    return figure


def plot_smaller_recommenders(result: RecommenderResult) -> Figure:
    """NDCG@10 of smaller recommenders over the ratio of parameters, unhealed and healed, and that of the baselines."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True, layout="constrained")
    _plot_smaller_models(panels, result.plans, result.candidates, "ndcg_10")
    whole = result.metrics["transformer"].ndcg_10
    for axes in panels:
        axes.axhspan(whole.low, whole.high, color="0.4", alpha=0.12, linewidth=0)
        axes.axhline(whole.value, color="0.4", linewidth=1, label="whole model")
        for name, colour in zip(result.differences, (ORANGE, GREEN, "black"), strict=True):
            value = result.metrics[name].ndcg_10.value
            axes.axhline(value, color=colour, linewidth=1, linestyle="--", label=name.replace("_", " "))
        axes.set_ylim(0, None)
    panels[0].set_ylabel("NDCG@10, test products")
    _legend_below(figure, panels, columns=5)
    return figure


def _plot_smaller_models(
    panels: Sequence[Axes],
    plans: list[CompressionPlan],
    candidates: list[Candidate] | list[SmallerRecommender],
    metric: str,
) -> None:
    """A metric of smaller models over the ratio of parameters: unhealed, and healed or trained from scratch."""
    reached = {plan.ratio: plan.reached for plan in plans}
    healed_names = {candidate.name for candidate in candidates if candidate.healed}
    shown = [candidate for candidate in candidates if candidate.ratio in reached]
    styles = _styles(list(dict.fromkeys(candidate.name for candidate in shown)))
    for axes, title, trained in zip(
        panels, ("unhealed", "healed, or trained from scratch"), (False, True), strict=True
    ):
        lines = {
            name: [c for c in shown if c.name == name and (c.healed or not c.layers) == trained] for name in styles
        }
        lines = {name: models for name, models in lines.items() if models}
        for place, (name, models) in enumerate(lines.items()):
            ratios = [reached[float(c.ratio or 0)] * (1 + 0.003 * (place - len(lines) / 2)) for c in models]
            values = [getattr(candidate, metric) for candidate in models]
            label = "random" if name.startswith("random_") and name not in healed_names else name.replace("_", " ")
            if name in healed_names or trained:
                _plot_intervals(axes, ratios, values, label=label, **styles[name])
            else:
                faint = styles[name] | {"linestyle": "none", "alpha": 0.6}
                axes.plot(ratios, [each.value for each in values], label=label, **faint)
        axes.set(title=title, xlabel="parameters of the whole model to those left")


def _grid(panels: int, width: float, height: float, **options) -> tuple[Figure, Sequence[Axes]]:
    """A figure with this number of panels, of a width and height in inches, up to three in a row."""
    rows = ceil(panels / 3)
    columns = ceil(panels / rows)
    size = max(7, columns * width), rows * height
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for empty in axes.flat[panels:]:
        empty.remove()
    return figure, axes.flat[:panels]


def _plot_layers(axes: Axes, values: list[float], bounds: list[tuple[float, float]], shift: float = 0, **style) -> None:
    """A value for each layer, with its interval."""
    means, (low, high) = np.array(values), np.array(bounds).T
    look = {"fmt": "o", "color": BLUE, "capsize": 3} | style
    arms = np.clip([means - low, high - means], 0, None)
    axes.errorbar(np.arange(len(means)) + shift, means, yerr=arms, **look)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend_below(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """One legend for all panels, with each label once."""
    shown = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    unique = {label: handle for handle, label in shown}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def _plot_intervals(axes: Axes, places: Sequence[float], values: list[Interval], **style) -> None:
    """Estimates with their intervals. A percentile interval may not contain its estimate: then it has one arm."""
    arms = [[each.value - each.low for each in values], [each.high - each.value for each in values]]
    axes.errorbar(places, [each.value for each in values], yerr=np.clip(arms, 0, None), capsize=3, **style)


def _styles(names: list[str]) -> dict[str, dict]:
    """A colour and a marker for each selection, so that it can be recognised without colour as well.

    Fusions are black, selections from the table of sub-networks red, baselines grey.
    """
    kinds: dict[str, list[str]] = {"method": [], "table": [], "fusion": [], "baseline": []}
    for name in names:
        if name in ("best_subset", "greedy"):
            kinds["table"].append(name)
        elif name != FROM_SCRATCH:
            kinds["fusion" if is_fused(name) else "baseline" if is_baseline(name) else "method"].append(name)
    colours = sns.color_palette("colorblind", 10)
    greys = sns.color_palette("gray", len(kinds["baseline"]) + 2)[1:-1]
    styles = {}
    if FROM_SCRATCH in names:
        styles[FROM_SCRATCH] = {"color": "purple", "marker": "s", "markersize": 4, "linestyle": ":"}
    for i, name in enumerate(kinds["method"]):
        styles[name] = {"color": colours[i % 10], "marker": "osD^v<>pPX*h"[i % 12], "markersize": 4}
    for i, name in enumerate(kinds["table"]):
        styles[name] = {"color": "darkred", "marker": "oX"[i % 2], "markersize": 6}
    for i, name in enumerate(kinds["fusion"]):
        styles[name] = {"color": "black", "marker": "*dH8|_"[i % 6], "markersize": 6, "linestyle": "-."}
    for i, name in enumerate(kinds["baseline"]):
        styles[name] = {"color": greys[i], "marker": "1234+x.,^v"[i % 10], "markersize": 5, "linestyle": "--"}
    return styles
