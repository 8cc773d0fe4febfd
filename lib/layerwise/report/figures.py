"""Figures of the pages, a function each. They draw results and compute none."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from io import StringIO
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from layerwise.budget import CompressionPlan
from layerwise.grading import SEARCH, Grading, is_baseline
from layerwise.ranking import is_fused
from layerwise.statistics import Interval, Stability
from layerwise.study.data.quality import QualityReport
from layerwise.study.schemas import (
    BEST,
    FROM_SCRATCH,
    TRUNCATED,
    WORST,
    Candidate,
    CompressionResult,
    CoreImportanceResult,
    FrontierResult,
    FusionResult,
    LanguageModelResult,
    LayerScoreResult,
    RecommenderMetrics,
    RecommenderResult,
    SmallerRecommender,
    TrainingResult,
)
from layerwise.subnetworks import SubnetworkTable

# A page's column has 740 pixels of 1/96 inch. In a figure of this width a point of type is a point on the page.
WIDTH = 7.7
SMALLEST = 8  # points
sns.set_theme(
    style="whitegrid",
    palette="colorblind",
    rc={
        "figure.dpi": 120,
        "savefig.dpi": 150,
        "svg.hashsalt": "layerwise",  # ids that are equal in each run
        "font.size": 9,
        "grid.linewidth": 0.7,
        "grid.color": "0.87",
        "figure.titlesize": 10.5,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.title_fontsize": 8.5,
    },
)
BLUE, ORANGE, GREEN, RED, PURPLE = sns.color_palette("colorblind")[:5]
POINTS = "subnetworks"  # id of the cloud in an SVG
OTHERS = "0.6"  # the grey of everything that is not in focus


def plot_quality(report: QualityReport) -> Figure:
    """Ratings and years of the source, lengths of the reviews kept, and the reviews left after each filter."""
    figure, ((ratings, years), (lengths, filters)) = plt.subplots(2, 2, figsize=(WIDTH, 5.6), layout="constrained")
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
    filters.bar_label(bars, [f"{n:,}" for n in left], padding=3, fontsize=SMALLEST)
    filters.invert_yaxis()
    filters.margins(x=0.2)
    filters.set(title="Reviews left after each filter", xlabel="reviews")
    return figure


def plot_training_curves(history: list[dict], baseline: Interval) -> Figure:
    """Loss and accuracy over the epochs, and the interval of the linear classifier."""
    figure, (losses, accuracies) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), layout="constrained")
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
    losses.set_title("Loss", loc="left")
    accuracies.set_title("Accuracy", loc="left")
    return figure


def plot_gradient_norms(history: list[dict]) -> Figure:
    """Gradient norm of each layer at each recorded step of training: a heat map, deepest layer on top."""
    rows = [row for row in history if "layer_gradient_norms" in row]
    norms = np.array([row["layer_gradient_norms"] for row in rows]).T
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    edges = np.append([0], [row["step"] for row in rows])
    mesh = axes.pcolormesh(edges, np.arange(len(norms) + 1) - 0.5, norms, norm=LogNorm(), cmap="viridis")
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="training step", ylabel="layer")
    axes.set_title("Gradient norm of each layer during training", loc="left")
    figure.colorbar(mesh, label="gradient norm before clipping")
    return figure


def plot_scores(result: LayerScoreResult, units: dict[str, str]) -> Figure:
    """Scores of the layers by each method, with intervals; logarithmic where all are above zero and span a decade."""
    figure, panels = _grid(len(units), 2.6)
    for axes, (method, unit) in zip(panels, units.items(), strict=True):
        bounds = np.array(result.intervals[method])
        _plot_layers(axes, result.scores[method], result.intervals[method])
        if bounds.min() <= 0:
            axes.axhline(0, color="0.4", linewidth=1)
        elif bounds.max() >= 10 * bounds.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if bounds.max() < 100 * bounds.min() else (1,)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set(title=method.replace("_", " "), xlabel="layer", ylabel=unit)
    figure.suptitle("Score of each layer, a panel a method", x=0.01, ha="left")
    return figure


def plot_rank_intervals(result: LayerScoreResult) -> Figure:
    """Rank of each layer by each method, with intervals."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
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
    axes.set_title("Rank of each layer by each method; bars: 95 % intervals", loc="left")
    _legend_below(figure, [axes], columns=len(methods))
    return figure


def plot_accuracies(trained: dict[str, dict[int, TrainingResult]], claimed: float) -> Figure:
    """Test accuracy of every seed of each model and of the linear classifier, with intervals, and the claimed one."""
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + 0.45 * len(trained)), layout="constrained")
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
    axes.set_title("Test accuracy of every seed, beside the linear classifier", loc="left")
    _legend_below(figure, [axes], columns=3)
    return figure


def plot_percentiles(percentiles: dict[str, dict[str, Interval]]) -> Figure:
    """Mean percentile of each method, fusion and baseline, with intervals: a panel a model."""
    names = list(dict.fromkeys(name for methods in percentiles.values() for name in methods))
    figure, panels = _grid(len(percentiles), 0.8 + 0.2 * len(names), sharey=True)
    for axes, (model, methods) in zip(panels, percentiles.items(), strict=True):
        for row, name in enumerate(names):
            if name in methods:
                colour, kind = (
                    (ORANGE, "baseline")
                    if is_baseline(name)
                    else ("black", "fusion")
                    if is_fused(name)
                    else (GREEN, "search")
                    if name == SEARCH
                    else (BLUE, "method")
                )
                axes.hlines(row, methods[name].low, methods[name].high, color=colour)
                marker = "s" if is_baseline(name) else "o"
                axes.plot(methods[name].value, row, marker, color=colour, markersize=4, label=kind)
        axes.axvline(0.5, color="0.4", linewidth=1)
        axes.set(title=_in_two_lines(model), xlabel="mean percentile", xlim=(-0.02, 1.02), xticks=(0.25, 0.5, 0.75))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panels[0].invert_yaxis()
    figure.suptitle("Selected layers among all sub-networks of their size; the line is chance", x=0.01, ha="left")
    _legend_below(figure, panels, columns=3)
    return figure


def plot_ablation(results: dict[str, CoreImportanceResult]) -> Figure:
    """Log-probability (above) and accuracy (below) lost without each layer, for every model: up to three in a row."""
    columns = min(3, len(results))
    rows = 2 * ceil(len(results) / columns)
    figure, panels = plt.subplots(rows, columns, figsize=(WIDTH, 1.9 * rows), layout="constrained", squeeze=False)
    pairs = [(panels[row, column], panels[row + 1, column]) for row in range(0, rows, 2) for column in range(columns)]
    for upper, lower in pairs[len(results) :]:
        upper.remove()
        lower.remove()
    for (name, result), (upper, lower) in zip(results.items(), pairs, strict=False):
        for axes, first, values, bounds in (
            (upper, pairs[0][0], result.scores["ablation"], result.intervals["ablation"]),
            (lower, pairs[0][1], result.accuracy_drop, result.accuracy_drop_intervals),
        ):
            if axes is not first:
                axes.sharey(first)
            _plot_layers(axes, values, bounds, markersize=4)
            axes.axhline(0, color="0.4", linewidth=1)
        upper.set_title(_in_two_lines(name))
        lower.set_xlabel("layer left out")
        lower.yaxis.set_major_formatter(PercentFormatter(1))
    for row in range(0, rows, 2):
        panels[row, 0].set_ylabel("log-probability\nlost (nats)")
        panels[row + 1, 0].set_ylabel("accuracy lost")
    figure.suptitle("What each layer is worth to the whole model", x=0.01, ha="left")
    return figure


def plot_rank_map(stability: dict[str, Stability]) -> Figure:
    """Rank of each layer by each method, with its interval: a heat map of methods and layers."""
    ranks = np.array([each.ranks for each in stability.values()])
    depth = ranks.shape[1]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.1 + 0.42 * len(ranks)), layout="constrained")
    image = axes.imshow(ranks, cmap="cividis_r", vmin=1, vmax=depth, aspect="auto")
    for row, each in enumerate(stability.values()):
        for layer, (rank, (low, high)) in enumerate(zip(each.ranks, each.rank_intervals, strict=True)):
            axes.text(
                layer,
                row,
                f"{rank}\n{low:.0f}\u2013{high:.0f}",
                ha="center",
                va="center",
                fontsize=SMALLEST,
                color="white" if rank > depth / 2 else "black",
            )
    axes.grid(False)
    axes.set_xticks(range(depth))
    axes.set_yticks(range(len(ranks)), [name.replace("_", " ") for name in stability])
    axes.set(xlabel="layer")
    axes.set_title("Rank of each layer by each method, with its 95 % interval", loc="left")
    figure.colorbar(image, label="rank (1 = most important)", pad=0.02)
    return figure


def plot_regret(truth: Grading, methods: list[str]) -> Figure:
    """Regret of each method over the sizes, and the range of 90 % of all sub-networks; a few methods are in focus."""
    sizes = list(truth.sizes)[1:-1]
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    best = np.array([truth.sizes[k].best.value for k in sizes])
    quantiles = np.array([truth.sizes[k].quantiles for k in sizes])
    axes.fill_between(
        sizes, best - quantiles[:, 1], best - quantiles[:, 5], color="0.9", label="90 % of sub-networks", linewidth=0
    )
    axes.plot(sizes, best - quantiles[:, 3], color="0.4", linestyle=":", label="median")
    greedy = [truth.sizes[k].best.value - truth.sizes[k].greedy.value for k in sizes]
    axes.plot(sizes, greedy, color="black", linestyle="--", linewidth=1, label="greedy")
    axes.axhline(0, color="black", linewidth=1)
    regrets = {method: [truth.grades[method][k].regret for k in sizes] for method in methods}
    for method in methods:
        axes.plot(sizes, regrets[method], color=OTHERS, linewidth=0.8, zorder=1.5)
    for method, (colour, marker, _) in (focus := _focus(truth, methods)).items():
        axes.plot(sizes, regrets[method], color=colour, marker=marker, markersize=4.5, linewidth=1.8)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layers kept", ylabel="regret (accuracy)")
    axes.set_title("Accuracy lost against the best sub-network of the size; grey: other selections", loc="left")
    _legend_below(figure, [axes], columns=3)
    _label_ends(axes, [(sizes[-1], regrets[name][-1], label, colour) for name, (colour, _, label) in focus.items()])
    return figure


def plot_subnetworks(table: SubnetworkTable, truth: Grading, methods: list[str], measure: str = "accuracy") -> Figure:
    """The metric of every sub-network over the layers that it keeps, and the selections of a few methods."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    spread = np.random.default_rng(0).uniform(-0.32, 0.32, len(table.masks))
    axes.scatter(table.sizes + spread, table.mean_values, s=5, color="0.72", linewidths=0, zorder=1, gid=POINTS)
    sizes = list(truth.sizes)
    axes.plot(sizes, [truth.sizes[k].best.value for k in sizes], color="black", linewidth=1, label="best of the size")
    axes.plot(sizes, [truth.sizes[k].mean for k in sizes], color="black", linestyle=":", linewidth=1, label="mean")
    focus, ends = _focus(truth, methods), []
    for (method, (colour, marker, label)), offset in zip(
        focus.items(), np.linspace(-0.2, 0.2, len(focus)), strict=True
    ):
        places, values = np.array(sizes[1:-1]) + offset, [truth.grades[method][k].value for k in sizes[1:-1]]
        axes.plot(places, values, color=colour, marker=marker, linewidth=0.8, markersize=5.5, markeredgecolor="white")
        ends.append((places[-1], values[-1], label, colour))
    if measure == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layers kept", ylabel=measure)
    axes.set_title("Every sub-network (grey), and those that scores select", loc="left")
    axes.legend(loc="lower right")
    _label_ends(axes, ends)
    return figure


def hoverable(figure: Figure, table: SubnetworkTable, alt: str) -> str:
    """`plot_subnetworks` as HTML without scripts: under the mouse each point says which layers it keeps, and its value.

    The figure is closed, so that a notebook does not show it a second time.
    """
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(r"^.*?<svg", f'<svg role="img" aria-label="{escape(alt)}"', file.getvalue(), count=1, flags=re.S)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 style="max-width: 100%; height: auto"', svg, count=1
    )
    start = svg.index(f'<g id="{POINTS}">')
    end = svg.index(' <g id="', start + 1)
    titles = (
        f"{len(kept)} of {table.layers} layers kept: {', '.join(map(str, kept)) or 'none'}\n{value:.3f}"
        for kept, value in zip(map(np.flatnonzero, table.masks), table.mean_values, strict=True)
    )
    titled = re.sub(r"(<use [^>]*?)/>", lambda use: f"{use[1]}><title>{next(titles)}</title></use>", svg[start:end])
    plt.close(figure)
    return f'<div class="hover">{svg[:start]}{titled}{svg[end:]}</div>'


def plot_agreement(truth: Grading | FusionResult) -> Figure:
    """Kendall's tau of every two rankings, bold where its interval excludes zero: the lower half of a matrix."""
    tau, low, high = (np.array(m) for m in (truth.agreement, truth.agreement_low, truth.agreement_high))
    names = [name.replace("_", " ") for name in truth.ranked]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.6 + 0.3 * len(names)), layout="constrained")
    image = axes.imshow(
        np.ma.masked_where(np.triu(np.ones_like(tau)) > 0, tau), cmap="RdBu", vmin=-1, vmax=1, aspect="auto"
    )
    for i in range(len(names)):
        for j in range(i):
            shown = low[i, j] > 0 or high[i, j] < 0
            look = {"weight": "bold" if shown else "normal", "color": "white" if abs(tau[i, j]) > 0.6 else "black"}
            axes.text(j, i, f"{tau[i, j]:.2f}", ha="center", va="center", fontsize=SMALLEST, **look)
    axes.grid(False)
    axes.set_xticks(range(len(names) - 1), names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(1, len(names)), names[1:])
    axes.set(xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5))
    axes.set_title("How alike rankings are; bold: the 95 % interval excludes zero", loc="left")
    empty = axes.inset_axes((0.55, 0.9, 0.42, 0.03))  # in the upper half
    figure.colorbar(image, cax=empty, orientation="horizontal", label="Kendall's tau")
    return figure


def plot_interactions(truth: Grading) -> Figure:
    """Interaction of every two layers: red where they replace each other, blue where they need each other."""
    depth = len(truth.shapley)
    values = np.full((depth, depth), np.nan)
    figure, axes = plt.subplots(figsize=(WIDTH, 5.2), layout="constrained")
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
    axes.set_title("Red: two layers replace each other. Blue: they need each other", loc="left")
    figure.colorbar(image, label="Shapley interaction (nats)")
    return figure


def plot_shapley(truth: Grading) -> Figure:
    """Shapley value of each layer, and the log-probability lost when it alone is left out."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    _plot_layers(axes, truth.shapley, truth.shapley_intervals, shift=-0.1, label="Shapley value")
    _plot_layers(
        axes, truth.leave_one_out, truth.leave_one_out_intervals, shift=0.1, color=ORANGE, label="left out alone"
    )
    axes.axhline(0, color="0.4", linewidth=1)
    axes.set(xlabel="layer", ylabel="log-probability (nats)")
    axes.set_title("What a layer adds: on average over all sub-networks, and to the whole model", loc="left")
    axes.legend()
    return figure


def plot_depths(truths: dict[str, Grading]) -> Figure:
    """Accuracy over the layers kept, for every model: the best sub-network, the mean, and the range of 90 % of all."""
    figure, panels = _grid(len(truths), 2.8, sharey=True)
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
        axes.set(title=_in_two_lines(name), xlabel="layers kept")
    panels[0].set_ylabel("accuracy")
    figure.suptitle("How much accuracy is left with fewer layers, untrained", x=0.01, ha="left")
    _legend_below(figure, panels, columns=4)
    return figure


def plot_language_model(result: LanguageModelResult) -> Figure:
    """Block Influence of each layer, and perplexity and zero-shot accuracy without it."""
    figure, (turned, text, answers) = plt.subplots(3, 1, figsize=(WIDTH, 6.6), sharex=True, layout="constrained")
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
    figure.suptitle("The language model without each of its layers; dashed: the whole model", x=0.01, ha="left")
    return figure


def plot_angular_distance(result: LanguageModelResult) -> Figure:
    """Angular distance over every block of layers, by its first layer (x) and its length (y)."""
    distances = np.array(result.angular_distance)
    depth = len(distances)
    by_length = np.full((depth, depth), np.nan)
    for length in range(1, depth + 1):
        by_length[length - 1, : depth - length + 1] = np.diagonal(distances, offset=length)
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    image = axes.pcolormesh(np.arange(depth + 1) - 0.5, np.arange(depth + 1) + 0.5, by_length, cmap="cividis")
    axes.plot(np.nanargmin(by_length, axis=1), np.arange(1, depth + 1), "o", color="white", mfc="none", markersize=5)
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="first layer of the block", ylabel="layers in the block")
    axes.set_title("How far a block of layers turns the hidden states; ring: the least of its length", loc="left")
    figure.colorbar(image, label="angular distance (share of \u03c0)")
    return figure


def plot_pruned(result: LanguageModelResult) -> Figure:
    """Perplexity and zero-shot accuracy over the layers kept, a line for each method of selection."""
    figure, (text, answers) = plt.subplots(1, 2, figsize=(WIDTH, 3.8), layout="constrained")
    methods = list(dict.fromkeys(pruned.method for pruned in result.pruned))
    for place, method in enumerate(methods):
        style = (
            {"color": "black", "linestyle": "--"}
            if is_baseline(method)
            else {"color": (BLUE, GREEN, RED, PURPLE)[place % 4]}
        )
        style |= {"marker": "oDv^s"[place % 5], "markersize": 5}
        models = [pruned for pruned in result.pruned if pruned.method == method]
        sizes = [len(model.layers) + 0.2 * (place - (len(methods) - 1) / 2) for model in models]
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
    figure.suptitle("The language model with fewer layers; dashed: the whole model", x=0.01, ha="left")
    _legend_below(figure, [text], columns=len(methods))
    return figure


def plot_thirds(places: dict[str, list[Interval]]) -> Figure:
    """Mean place of early, middle and late layers in each ranking that has thirds, with intervals: a row a ranking."""
    rankings = {name: thirds for name, thirds in places.items() if thirds}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.3 + 0.3 * len(rankings)), layout="constrained")
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
    axes.set_title("Where each ranking places early, middle and late layers", loc="left")
    _legend_below(figure, [axes], columns=3)
    return figure


def plot_compression(result: CompressionResult, baseline: Interval, claims: dict[float, float]) -> Figure:
    """Accuracy of smaller models over the ratio of parameters, unhealed and healed, and the claimed accuracies."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 4.6), sharey=True, layout="constrained")
    _plot_smaller_models(panels, result.plans, result.candidates, "accuracy")
    for axes in panels:
        axes.plot(list(claims), list(claims.values()), "x", color="black", markersize=7, label="claimed, not measured")
        for interval, linestyle, label in ((result.whole, "-", "whole model"), (baseline, "--", "linear classifier")):
            axes.axhspan(interval.low, interval.high, color="0.4", alpha=0.12, linewidth=0)
            axes.axhline(interval.value, color="0.4", linewidth=1, linestyle=linestyle, label=label)
        for plan in result.plans:
            if plan.trimmed:
                place = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "bottom", "ha": "right"}
                axes.axvline(plan.reached, color="0.5", linestyle=":", linewidth=1)
                axes.text(plan.reached, 0.02, "vocabulary trimmed", fontsize=SMALLEST, color="0.3", **place)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("accuracy, test split")
    figure.suptitle("Accuracy of smaller models, before and after healing", x=0.01, ha="left")
    _legend_below(figure, panels, columns=4)
    return figure


def plot_retention(rows: list[dict]) -> Figure:
    """Share of the accuracy that smaller models keep over the layers kept: healed selections and all baselines."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    styles = _smaller_styles([row["name"] for row in rows if row["healed"] or row["name"] == FROM_SCRATCH])
    figure, panels = _grid(len(models), 3.6, sharey=True)
    for axes, model in zip(panels, models, strict=True):
        smaller = [row for row in rows if row["model"] == model and row["layers"]]
        others = [row for row in smaller if row["name"] not in styles and is_baseline(row["name"])]
        layers, kept = [row["layers"] for row in others], [row["kept"] for row in others]
        axes.plot(layers, kept, "_", color=OTHERS, label="other baselines")
        for name, style in styles.items():
            for healed in (False, True):
                line = [row for row in smaller if (row["name"], row["healed"]) == (name, healed)]
                if line:
                    line.sort(key=lambda row: row["layers"])
                    shares = [Interval(value=row["kept"], low=row["low"], high=row["high"], n=0) for row in line]
                    label = "random" if name.startswith("random_") else name.replace("_", " ")
                    look = style | {"linestyle": "-" if healed else ":"}
                    _plot_intervals(axes, [row["layers"] for row in line], shares, label=label, **look)
        axes.axhline(1, color="0.4", linewidth=1)
        axes.set(title=_in_two_lines(model), xlabel="layers kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("share of the whole model's accuracy")
    figure.suptitle("Accuracy that smaller models keep: unhealed (dotted) and healed (solid)", x=0.01, ha="left")
    _legend_below(figure, panels, columns=5)
    return figure


def plot_latency(result: CompressionResult) -> Figure:
    """Accuracy over the time that a batch takes, for each runtime; each point is labelled with its ratio."""
    if not result.timings:
        figure, axes = plt.subplots(figsize=(WIDTH, 1))
        axes.text(0.5, 0.5, "no model was exported", ha="center")
        axes.set_axis_off()
        return figure
    sizes = sorted({timing.batch for timing in result.timings})
    figure, panels = plt.subplots(1, len(sizes), figsize=(WIDTH, 3.6), sharey=True, layout="constrained", squeeze=False)
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
                    fontsize=SMALLEST,
                )
        axes.set(title=f"{size} review{'s' if size > 1 else ''}", xlabel="milliseconds", xscale="log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.12)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("accuracy, test split")
    figure.suptitle("Time for a batch and accuracy, by runtime and ratio", x=0.01, ha="left")
    _legend_below(figure, panels[0], columns=len(runtimes))
    return figure


def plot_frontier(result: FrontierResult, from_scratch: Interval | None = None) -> Figure:
    """Accuracy over the budget of healing, a line a choice of layers; below it the spread of choices and of seeds.

    Args:
        from_scratch: accuracy of a model of as many layers that was trained from scratch, if there is one.
    """
    passes = [float(budget.epochs) for budget in result.budgets]
    figure, (lines, spreads) = plt.subplots(
        2, 1, figsize=(WIDTH, 6), sharex=True, height_ratios=(3, 1.4), layout="constrained"
    )
    for choice in result.choices:
        values = [each.value for each in choice.accuracy]
        lines.plot(passes, values, color=OTHERS, linewidth=0.8, zorder=1.5)
    ends = []
    for place, (colour, marker, label) in _frontier_focus(result).items():
        choice = result.choices[place]
        values, seeds = [each.value for each in choice.accuracy], np.array(choice.by_seed)
        lines.fill_between(passes, seeds.min(1), seeds.max(1), color=colour, alpha=0.2, linewidth=0)
        lines.plot(passes, values, color=colour, marker=marker, markersize=4.5, linewidth=1.8)
        ends.append((passes[-1], values[-1], label, colour))
    lines.axhline(result.whole.value, color="0.4", linewidth=1, label="whole model")
    if from_scratch:
        lines.axhline(from_scratch.value, color=PURPLE, linestyle=":", label="trained from scratch")
    lines.yaxis.set_major_formatter(PercentFormatter(1))
    lines.set_ylabel("accuracy, test split")
    lines.set_title("Accuracy of each choice of layers; bands: its seeds; grey: other choices", loc="left")
    for name, colour, marker, shift in (("choice", BLUE, "o", -0.02), ("seed", ORANGE, "s", 0.02)):
        found = [getattr(budget, f"{name}_spread") for budget in result.budgets]
        points = [Interval(value=100 * e.value, low=100 * e.low, high=100 * e.high, n=e.n) for e in found]
        label = "choices" if name == "choice" else "seeds of one choice"
        style = {"fmt": marker, "color": colour, "markersize": 5, "label": label}
        _plot_intervals(spreads, [each + shift * len(passes) / 2 for each in passes], points, **style)
    spreads.set_xticks(passes, ["unhealed", *(f"{each:g}" for each in passes[1:])])
    spreads.set(xlabel=f"passes over {result.reviews:,} training reviews", ylabel="standard\ndeviation (points)")
    spreads.margins(y=0.1)
    spreads.set_title("Spread of accuracy, between choices and between seeds", loc="left")
    _legend_below(figure, [lines, spreads], columns=4)
    _label_ends(lines, ends)
    return figure


def plot_recommenders(metrics: dict[str, RecommenderMetrics]) -> Figure:
    """Three metrics of each recommender, with intervals: a row a recommender."""
    figure, panels = plt.subplots(
        1, 3, figsize=(WIDTH, 1.3 + 0.3 * len(metrics)), sharey=True, layout="constrained", squeeze=False
    )
    rows = range(len(metrics))
    for axes, (metric, label) in zip(
        panels[0], (("hit_rate_10", "HR@10"), ("ndcg_10", "NDCG@10"), ("mrr", "MRR")), strict=True
    ):
        values = [getattr(each, metric) for each in metrics.values()]
        axes.hlines(rows, [each.low for each in values], [each.high for each in values], color=BLUE)
        axes.plot([each.value for each in values], rows, "o", color=BLUE)
        axes.set(xlabel=label, xlim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    panels[0, 0].set_yticks(rows, [name.replace("_", " ") for name in metrics])
    panels[0, 0].invert_yaxis()
    figure.suptitle("How well each recommender ranks the next product", x=0.01, ha="left")
    return figure


def plot_shapley_of_models(truths: dict[str, Grading]) -> Figure:
    """Shapley values of the layers of several models, with intervals: a panel a model."""
    figure, panels = _grid(len(truths), 2.4, sharey=True)
    for axes, (name, truth) in zip(panels, truths.items(), strict=True):
        _plot_layers(axes, truth.shapley, truth.shapley_intervals)
        axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=_in_two_lines(name), xlabel="layer")
    panels[0].set_ylabel("Shapley value (nats)")
    figure.suptitle("What each layer adds to the log-probability of the true label", x=0.01, ha="left")
    return figure


def plot_smaller_recommenders(result: RecommenderResult) -> Figure:
    """NDCG@10 of smaller recommenders over the ratio of parameters, unhealed and healed, and that of the baselines."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 4.2), sharey=True, layout="constrained")
    _plot_smaller_models(panels, result.plans, result.candidates, "ndcg_10")
    whole = result.metrics["transformer"].ndcg_10
    for axes in panels:
        axes.axhspan(whole.low, whole.high, color="0.4", alpha=0.12, linewidth=0)
        axes.axhline(whole.value, color="0.4", linewidth=1, label="whole model")
        for name in result.differences:
            value = result.metrics[name].ndcg_10.value
            axes.axhline(value, color="0.4", linewidth=1, linestyle="--")
            place = {"transform": axes.get_yaxis_transform(), "va": "bottom", "fontsize": SMALLEST, "color": "0.3"}
            axes.text(0.02, value, name.replace("_", " "), **place)
        axes.set_ylim(0, None)
    panels[0].set_ylabel("NDCG@10, test products")
    figure.suptitle("Smaller recommenders, before and after healing; dashed: baselines", x=0.01, ha="left")
    _legend_below(figure, panels, columns=4)
    return figure


def plot_scoreboard(percentiles: pd.DataFrame) -> Figure:
    """Percentile of each way to select layers in each run: a heat map around chance, with the cost in passes.

    Args:
        percentiles: `tables.scoreboard_table`.
    """
    names, kinds, means, passes = (percentiles.index.get_level_values(level) for level in range(4))
    values = percentiles.to_numpy()
    rows, runs = values.shape
    shown = np.column_stack([values, means.to_numpy(float)])
    figure, axes = plt.subplots(figsize=(WIDTH, 1.5 + 0.27 * rows), layout="constrained")
    places = [*range(runs), runs + 0.4]  # the mean stands apart
    edges = np.array([-0.5, *(place + 0.5 for place in range(runs)), runs - 0.1, runs + 0.9])
    grid = np.insert(shown, runs, np.nan, axis=1)
    image = axes.pcolormesh(edges, np.arange(rows + 1) - 0.5, grid, cmap="RdBu", vmin=0, vmax=1, edgecolors="white")
    for row in range(rows):
        for place, value in zip(places, shown[row], strict=True):
            colour = "white" if abs(value - 0.5) > 0.33 else "black"
            axes.text(place, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=SMALLEST, color=colour)
        axes.text(runs + 1.15, row, passes[row], va="center", fontsize=8.5)
    baselines = np.flatnonzero(kinds == "baseline")
    for run in range(runs):
        best = baselines[np.argmax(values[baselines, run])]
        axes.add_patch(Rectangle((run - 0.44, best - 0.44), 0.88, 0.88, fill=False, edgecolor="black", linewidth=1.6))
    axes.grid(False)
    sns.despine(ax=axes, left=True, bottom=True)
    studies, models, seeds = (percentiles.columns.get_level_values(level) for level in range(3))
    axes.set_xticks(places, [*(f"{seed}" for seed in seeds), "mean"])
    axes.set_yticks(
        range(rows), [name if kind == "method" else f"{name} ({kind})" for name, kind in zip(names, kinds, strict=True)]
    )
    axes.set(xlabel="seed", xlim=(-0.5, runs + 2.4))
    axes.xaxis.set_label_coords(0.0, -0.02)
    axes.xaxis.label.set_horizontalalignment("right")
    axes.invert_yaxis()
    axes.text(runs + 1.15, -0.7, "passes", fontsize=8.5)
    _name_runs(axes, list(zip(studies, models, strict=True)))
    figure.suptitle("Layers selected by scores, fusions and baselines: better than chance?", x=0.01, ha="left")
    figure.colorbar(
        image,
        ax=axes,
        orientation="horizontal",
        aspect=50,
        pad=0.02,
        format=PercentFormatter(1),
        ticks=(0, 0.25, 0.5, 0.75, 1),
        label="mean percentile (50 %: chance); framed: the best baseline of the run",
    )
    return figure


def _name_runs(axes: Axes, runs: list[tuple[str, str]]) -> None:
    """Write the study and the model of runs, given in this order, above their columns."""
    heading = {"color": "0.3", "linewidth": 1, "clip_on": False}
    for study_and_model in dict.fromkeys(runs):
        own = [place for place, run in enumerate(runs) if run == study_and_model]
        axes.plot([own[0] - 0.4, own[-1] + 0.4], [-0.7, -0.7], **heading)
        axes.text(float(np.mean(own)), -0.9, study_and_model[1], rotation=35, rotation_mode="anchor", fontsize=8.5)
    for study in dict.fromkeys(study for study, _ in runs):
        own = [place for place, run in enumerate(runs) if run[0] == study]
        axes.plot([own[0] - 0.4, own[-1] + 0.4], [-3.1, -3.1], **heading)
        axes.text(own[0] - 0.4, -3.3, study, fontsize=8.5)


def plot_healing(contrasts: pd.DataFrame) -> Figure:
    """Accuracy of the selected layers less that of random layers, before and after healing: a line a smaller model.

    Args:
        contrasts: `tables.contrasts_table`.
    """
    shown = contrasts.dropna(subset=["choice_before", "choice_after"])
    models = list(dict.fromkeys(shown["model"]))
    figure, panels = _grid(len(models), 4.2, sharey=True)
    for axes, model, colour in zip(panels, models, (BLUE, RED, GREEN, PURPLE, ORANGE, "0.3"), strict=False):
        own = shown[shown["model"] == model]
        before, after = ([100 * each.value for each in own[name]] for name in ("choice_before", "choice_after"))
        axes.axhline(0, color="0.3", linewidth=1)
        axes.plot([0, 1], [before, after], "o-", color=colour, markersize=4, linewidth=1.2, alpha=0.8)
        axes.set_xticks([0, 1], ["before healing", "after healing"])
        axes.set_xlim(-0.6, 1.25)
        axes.grid(visible=False, axis="x")
        axes.set_title(_in_two_lines(model), color=colour, weight="bold")
        kept = [f"{layers} layer{'s' if layers > 1 else ''}" for layers in own["layers"]]
        _label_ends(axes, [(0, value, label, colour) for value, label in zip(before, kept, strict=True)], at=0.25)
        ends = f"{min(after):+.1f} to {max(after):+.1f}".replace("-", "\u2212")
        axes.annotate(ends, (1, min(after)), (0, -8), textcoords="offset points", ha="center", va="top")
        axes.margins(y=0.09)
    panels[0].set_ylabel("accuracy: selected less random layers (points)")
    figure.suptitle("The gap between selected and random layers, before and after healing", x=0.01, ha="left")
    return figure


def _plot_smaller_models(
    panels: Sequence[Axes],
    plans: list[CompressionPlan],
    candidates: list[Candidate] | list[SmallerRecommender],
    metric: str,
) -> None:
    """A metric of smaller models over the ratio of parameters: unhealed, and healed or trained from scratch."""
    reached = {plan.ratio: plan.reached for plan in plans}
    reached = {plan.ratio: plan.reached for plan in plans}
    shown = [candidate for candidate in candidates if candidate.ratio in reached]
    styles = _smaller_styles([each.name for each in shown if each.healed or not each.layers])
    names = list(dict.fromkeys(candidate.name for candidate in shown))
    for axes, title, trained in zip(
        panels, ("unhealed", "healed, or trained from scratch"), (False, True), strict=True
    ):
        for place, name in enumerate(names):
            models = [each for each in shown if each.name == name and (each.healed or not each.layers) == trained]
            ratios = [reached[float(each.ratio or 0)] * (1 + 0.003 * (place - len(names) / 2)) for each in models]
            values = [getattr(each, metric) for each in models]
            if models and name in styles:
                label = "random" if name.startswith("random_") else name.replace("_", " ")
                _plot_intervals(axes, ratios, values, label=label, **styles[name])
            elif models:
                axes.plot(
                    ratios, [each.value for each in values], ".", color=OTHERS, zorder=1.5, label="other selections"
                )
        axes.set(title=title, xlabel="parameters of the whole model to those left")


def _grid(panels: int, height: float, **options) -> tuple[Figure, Sequence[Axes]]:
    """A figure with this number of panels, each row of this height in inches: three in a row, of seven or more four."""
    rows = ceil(panels / (3 if panels < 7 else 4))
    columns = ceil(panels / rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, rows * height + 0.4), layout="constrained", squeeze=False, **options
    )
    for empty in axes.flat[panels:]:
        empty.remove()
    return figure, axes.flat[:panels]


def _in_two_lines(model: str) -> str:
    """The name of a study and model in two lines, which a narrow panel has room for."""
    return model.replace(": ", "\n")


def _focus(truth: Grading, names: Iterable[str]) -> dict[str, tuple[tuple, str, str]]:
    """Colour, marker and label of up to four selections: best method, fusion and baseline, and lowest method."""
    percentiles = {name: truth.summary[name].percentile.value for name in names}
    fusions, baselines = ([name for name in percentiles if kind(name)] for kind in (is_fused, is_baseline))
    methods = sorted(percentiles.keys() - {*fusions, *baselines, SEARCH}, key=lambda name: (percentiles[name], name))
    focus: dict[str, tuple[tuple, str, str]] = {}
    for group, colour, marker, label in (
        (methods[-1:], BLUE, "o", "best method"),
        (fusions, GREEN, "D", "best fusion"),
        (baselines, ORANGE, "s", "best baseline"),
        (methods[:1], RED, "v", "lowest method"),
    ):
        if group:
            name = max(group, key=lambda name: percentiles[name])
            focus.setdefault(name, (colour, marker, f"{name.replace('_', ' ')}\n({label})"))
    return focus


def _frontier_focus(result: FrontierResult) -> dict[int, tuple[tuple, str, str]]:
    """Colour, marker and label of up to four choices, by their place."""
    by_name = {name: place for place, choice in enumerate(result.choices) for name in choice.names}
    by_layers = {tuple(choice.layers): place for place, choice in enumerate(result.choices)}
    focus: dict[int, tuple[tuple, str, str]] = {}
    for place, colour, marker, label in (
        (by_name[BEST], BLUE, "o", "best unhealed"),
        (by_name[WORST], RED, "v", "worst unhealed"),
        (by_layers[tuple(result.budgets[-1].best)], GREEN, "D", "best healed\n(on validation)"),
        (by_name["even"], ORANGE, "s", "evenly spaced"),
    ):
        focus.setdefault(place, (colour, marker, label))
    return focus


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, tuple]], at: float = 1.04) -> None:
    """Names of lines (x, y, name, colour) at this share of the width, apart from each other, with a line to x, y."""
    assert axes.figure is not None
    axes.figure.draw_without_rendering()  # from here on the scale is known
    inch = axes.figure.dpi / axes.get_window_extent().height
    ends = sorted(ends, key=lambda end: end[1])
    places = [float(axes.transAxes.inverted().transform(axes.transData.transform(end[:2]))[1]) for end in ends]
    gaps = [0.15 * inch * (1 + end[2].count("\n")) for end in ends]
    for i in range(1, len(ends)):
        places[i] = max(places[i], places[i - 1] + (gaps[i] + gaps[i - 1]) / 2)
    top = 1.0
    for i in reversed(range(len(ends))):
        places[i] = min(places[i], top - gaps[i] / 2)
        top = places[i] - gaps[i] / 2
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        left = at < 0.5
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (float(left), 0.5), "shrinkA": 1}
        axes.annotate(
            name,
            (x, y),
            (at, place),
            textcoords="axes fraction",
            ha="right" if left else "left",
            va="center",
            fontsize=8.5,
            color=tuple(0.75 * np.array(colour)),  # darker than the line, so that it can be read
            arrowprops=line | {"shrinkB": 3},
        )


def _plot_layers(axes: Axes, values: list[float], bounds: list[tuple[float, float]], shift: float = 0, **style) -> None:
    """A value for each layer, with its interval."""
    means, (low, high) = np.array(values), np.array(bounds).T
    look = {"fmt": "o", "color": BLUE, "capsize": 2.5, "markersize": 5} | style
    arms = np.clip([means - low, high - means], 0, None)
    axes.errorbar(np.arange(len(means)) + shift, means, yerr=arms, **look)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend_below(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """One legend for all panels, with each label once."""
    shown = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    unique = {label: handle for handle, label in shown}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns)


def _plot_intervals(axes: Axes, places: Sequence[float], values: list[Interval], **style) -> None:
    """Estimates with their intervals. One that does not hold its estimate has one arm."""
    arms = [[each.value - each.low for each in values], [each.high - each.value for each in values]]
    axes.errorbar(places, [each.value for each in values], yerr=np.clip(arms, 0, None), capsize=3, **style)


def _smaller_styles(names: Iterable[str]) -> dict[str, dict]:
    """A colour, a marker and a line for each selection that was healed: three, random layers, and from scratch."""
    unique = dict.fromkeys(names)
    chosen = [name for name in unique if name not in (FROM_SCRATCH, TRUNCATED) and not is_baseline(name)]
    styles = {
        name: {"color": colour, "marker": marker, "markersize": 5}
        for name, colour, marker in zip(chosen, (BLUE, GREEN, RED), "oDv", strict=False)
    }
    for name in unique:
        if is_baseline(name):
            styles[name] = {"color": "black", "marker": "s", "markersize": 3.5, "linestyle": "--"}
    if TRUNCATED in unique:
        styles[TRUNCATED] = {"color": ORANGE, "marker": "v", "markersize": 5, "linestyle": ":"}
    if FROM_SCRATCH in unique:
        styles[FROM_SCRATCH] = {"color": PURPLE, "marker": "^", "markersize": 5, "linestyle": ":"}
    return styles
