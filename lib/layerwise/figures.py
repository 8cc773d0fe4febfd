"""The book's figures, one function each. They draw what they are given and compute nothing."""

from collections.abc import Iterable, Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from layerwise.fusion import RULES
from layerwise.grading import blind
from layerwise.reports import QualityReport
from layerwise.results import (
    ANEW,
    Candidate,
    Compression,
    CoreImportance,
    Fusion,
    Graded,
    Interval,
    LanguageModel,
    Metrics,
    Plan,
    Recommender,
    Scores,
    SmallerRecommender,
    Stability,
    TrainingResult,
)
from layerwise.subsets import Table

sns.set_theme(style="whitegrid", palette="colorblind", rc={"figure.dpi": 120, "savefig.dpi": 150})
BLUE, ORANGE, GREEN = sns.color_palette("colorblind")[:3]


def quality(report: QualityReport) -> Figure:
    """Ratings and years of the source, lengths of what was kept, and what each filter left."""
    figure, ((ratings, years), (lengths, filters)) = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    sns.barplot(x=list(report.ratings), y=list(report.ratings.values()), color=BLUE, ax=ratings)
    ratings.set(title="Ratings in the source", xlabel="rating", ylabel="reviews")
    ratings.xaxis.set_major_locator(MaxNLocator(9))

    if report.years:
        sns.barplot(x=list(report.years), y=list(report.years.values()), color=BLUE, ax=years)
        years.set(xlabel="year", ylabel="reviews")
        years.xaxis.set_major_locator(MaxNLocator(6))
    else:
        years.text(0.5, 0.5, "this source carries no dates", ha="center", va="center", transform=years.transAxes)
        years.set(xticks=[], yticks=[])
    years.set_title("Years of the source")

    lengths.bar(list(report.lengths), list(report.lengths.values()), width=25, align="edge", color=BLUE)
    lengths.set(title="Lengths of the reviews kept", xlabel="characters", ylabel="reviews")

    steps = ["as it came", *(step.name for step in report.filters)]
    left = [report.rows, *(step.left for step in report.filters)]
    bars = filters.barh(steps, left, color=BLUE)
    filters.bar_label(bars, [f"{n:,}" for n in left], padding=3, fontsize="small")
    filters.invert_yaxis()
    filters.margins(x=0.2)
    filters.set(title="Reviews left after each filter", xlabel="reviews")
    return figure


def training_curves(history: list[dict], baseline: Interval) -> Figure:
    """Loss and accuracy over the epochs, and the band of the linear baseline."""
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


def gradient_course(history: list[dict]) -> Figure:
    """Gradient norm of each layer at each recorded step of training: a heat map, deepest layer on top."""
    rows = [row for row in history if "layer_gradient_norms" in row]
    norms = np.array([row["layer_gradient_norms"] for row in rows]).T
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    edges = np.append([0], [row["step"] for row in rows])
    mesh = axes.pcolormesh(edges, np.arange(len(norms) + 1) - 0.5, norms, norm=LogNorm(), cmap="viridis")
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="step of training", ylabel="layer")
    figure.colorbar(mesh, label="gradient norm before clipping")
    return figure


def importance(result: Scores, units: dict[str, str]) -> Figure:
    """Scores of each method over the layers, with their intervals; logarithmic where all are above zero."""
    figure, panels = plt.subplots(1, len(units), figsize=(3.1 * len(units), 3.6), layout="constrained", squeeze=False)
    for axes, (method, unit) in zip(panels[0], units.items(), strict=True):
        _layers(axes, result.scores[method], result.intervals[method])
        if np.min(result.intervals[method]) > 0:
            axes.set_yscale("log")
        else:
            axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=method.replace("_", " "), xlabel="layer", ylabel=unit)
    return figure


def ranks(result: Scores) -> Figure:
    """Rank intervals of each layer by each method: how far apart they are is how much the methods disagree."""
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


def accuracies(trained: dict[str, dict[int, TrainingResult]], claimed: float) -> Figure:
    """Test accuracy of every seed of each subject beside the linear classifier's, with intervals, and the claim."""
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.5 * len(trained)), layout="constrained")
    for row, seeds in enumerate(trained.values()):
        linear = next(iter(seeds.values())).baseline.accuracy
        axes.barh(row, linear.high - linear.low, left=linear.low, height=0.7, color=ORANGE, alpha=0.25, linewidth=0)
        axes.vlines(linear.value, row - 0.35, row + 0.35, color=ORANGE, label="TF-IDF, logistic regression")
        places = row + 0.18 * (np.arange(len(seeds)) - (len(seeds) - 1) / 2)
        found = [result.test.accuracy for result in seeds.values()]
        axes.hlines(places, [each.low for each in found], [each.high for each in found], color=BLUE)
        axes.plot([each.value for each in found], places, "o", color=BLUE, label="Transformer, a seed")
    axes.axvline(claimed, color="0.4", linestyle="--", label="claimed")
    axes.set_yticks(range(len(trained)), list(trained))
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(xlabel="accuracy, test split")
    _legend_below(figure, [axes], columns=3)
    return figure


def percentiles(found: dict[str, dict[str, Interval]]) -> Figure:
    """Where each method's choices stand among all of their size, with intervals: a panel a subject."""
    names = list(dict.fromkeys(name for methods in found.values() for name in methods))
    figure, panels = _grid(len(found), 2.9, 1 + 0.28 * len(names), sharey=True)
    for axes, (subject, methods) in zip(panels, found.items(), strict=True):
        for row, name in enumerate(names):
            if name in methods:
                colour = "0.5" if blind(name) else "black" if name.split("_with_")[0] in RULES else BLUE
                axes.hlines(row, methods[name].low, methods[name].high, color=colour)
                axes.plot(methods[name].value, row, "s" if blind(name) else "o", color=colour)
        axes.axvline(0.5, color="0.4", linewidth=1)
        axes.set(title=subject, xlabel="mean percentile", xlim=(0, 1), xticks=(0, 0.5, 1))
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panels[0].invert_yaxis()
    return figure


def subjects(results: dict[str, CoreImportance]) -> Figure:
    """What leaving out each layer costs, for every subject: log-probability above, accuracy below."""
    figure, panels = plt.subplots(
        2, len(results), figsize=(1.5 + 3.6 * len(results), 5.6), sharey="row", layout="constrained", squeeze=False
    )
    for (name, result), (upper, lower) in zip(results.items(), panels.T, strict=True):
        for axes, values, bounds in (
            (upper, result.scores["ablation"], result.intervals["ablation"]),
            (lower, result.accuracy_drop, result.accuracy_drop_intervals),
        ):
            _layers(axes, values, bounds)
            axes.axhline(0, color="0.4", linewidth=1)
        upper.set_title(name)
        lower.set_xlabel("layer left out")
        lower.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("log-probability lost (nats)")
    panels[1, 0].set_ylabel("accuracy lost")
    return figure


def rank_map(stability: dict[str, Stability]) -> Figure:
    """Rank of each layer by each method, and the interval of the rank: a heat map of methods and layers."""
    ranks = np.array([found.ranks for found in stability.values()])
    depth = ranks.shape[1]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.5 * len(ranks)), layout="constrained")
    image = axes.imshow(ranks, cmap="cividis_r", vmin=1, vmax=depth, aspect="auto")
    for row, found in enumerate(stability.values()):
        for layer, (rank, (low, high)) in enumerate(zip(found.ranks, found.rank_intervals, strict=True)):
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


def regret(truth: Graded, methods: list[str]) -> Figure:
    """What each method's choice lacks to the best of its size, over the sizes, and the band of random choices."""
    sizes = list(truth.sizes)[1:-1]
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    best = np.array([truth.sizes[k].best.value for k in sizes])
    quantiles = np.array([truth.sizes[k].quantiles for k in sizes])
    axes.fill_between(
        sizes, best - quantiles[:, 1], best - quantiles[:, 5], color="0.85", label="90 % of all choices", linewidth=0
    )
    axes.plot(sizes, best - quantiles[:, 3], color="0.5", linestyle=":", label="their median")
    axes.axhline(0, color="black", linewidth=1, label="best")
    axes.plot(sizes, [truth.sizes[k].best.value - truth.sizes[k].greedy.value for k in sizes], "k--", label="greedy")
    for method, style in _styles(methods).items():
        axes.plot(sizes, [truth.grades[method][k].regret for k in sizes], label=method.replace("_", " "), **style)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layers kept", ylabel="accuracy behind the best choice")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def cloud(table: Table, truth: Graded, methods: list[str], measure: str = "accuracy") -> Figure:
    """Every sub-network a point, by the layers it keeps and what it is worth, with each method's choice on it."""
    figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
    spread = np.random.default_rng(0).uniform(-0.32, 0.32, len(table.kept))
    axes.plot(table.sizes + spread, table.mean_gain, ".", color="0.72", markersize=2.5, zorder=1, rasterized=True)
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


def agreement(truth: Graded | Fusion) -> Figure:
    """Kendall's tau of every two rankings with its interval: a matrix, its lower half."""
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


def interactions(truth: Graded) -> Figure:
    """Interaction of every two layers: red where one stands in for the other, blue where one needs the other."""
    depth = len(truth.shapley)
    values = np.full((depth, depth), np.nan)
    figure, axes = plt.subplots(figsize=(7.5, 5.6), layout="constrained")
    for pair, found in truth.interactions.items():
        i, j = map(int, pair.split("-"))
        values[j, i] = found.value
        if found.low > 0 or found.high < 0:
            axes.text(i, j, "*", ha="center", va="center", color="black")
    limit = np.nanmax(np.abs(values))
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.grid(False)
    axes.set_xticks(range(depth))
    axes.set_yticks(range(depth))
    axes.set(xlabel="layer", ylabel="layer")
    figure.colorbar(image, label="Shapley interaction (nats)")
    return figure


def shapley(truth: Graded) -> Figure:
    """What each layer is worth: its Shapley value beside what leaving it out of the whole model costs."""
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    _layers(axes, truth.shapley, truth.shapley_intervals, shift=-0.1, label="Shapley value")
    _layers(axes, truth.leave_one_out, truth.leave_one_out_intervals, shift=0.1, color=ORANGE, label="left out alone")
    axes.axhline(0, color="0.4", linewidth=1)
    axes.set(xlabel="layer", ylabel="log-probability of what is right (nats)")
    axes.legend()
    return figure


def depths(truths: dict[str, Graded]) -> Figure:
    """Accuracy against the layers kept, for every subject: the best choice, the mean, and where 90 % of them are."""
    figure, panels = _grid(len(truths), 4.2, 3.8, sharey=True)
    for axes, (name, truth) in zip(panels, truths.items(), strict=True):
        sizes = list(truth.sizes)
        quantiles = np.array([truth.sizes[k].quantiles for k in sizes])
        axes.fill_between(
            sizes, quantiles[:, 1], quantiles[:, 5], color="0.85", label="90 % of all choices", linewidth=0
        )
        axes.plot(sizes, [truth.sizes[k].mean for k in sizes], color="0.4", linestyle=":", label="mean of all choices")
        axes.plot(sizes, [truth.sizes[k].best.value for k in sizes], color=BLUE, label="best choice")
        axes.plot(
            sizes, [truth.sizes[k].best.held_out for k in sizes], "--", color=BLUE, label="best, on other reviews"
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(title=name, xlabel="layers kept")
    panels[0].set_ylabel("accuracy")
    panels[-1].legend(fontsize="small")
    return figure


def language_model(result: LanguageModel) -> Figure:
    """Block Influence of each layer, and perplexity and zero-shot accuracy without it."""
    figure, (turned, text, answers) = plt.subplots(3, 1, figsize=(9, 7.6), sharex=True, layout="constrained")
    _layers(turned, result.block_influence, result.block_influence_intervals)
    turned.set(ylabel="Block Influence", yscale="log")
    for axes, found, whole, label in (
        (text, result.perplexity_without_each, result.perplexity, "perplexity without it"),
        (answers, result.accuracy_without_each, result.accuracy, "accuracy without it"),
    ):
        _intervals(axes, range(len(found)), found, fmt="o", color=BLUE)
        axes.axhline(whole.value, color="0.4", linestyle="--", linewidth=1)
        axes.set_ylabel(label)
    text.set_yscale("log")
    answers.axhline(result.commonest_label, color="0.4", linestyle=":", linewidth=1)
    answers.yaxis.set_major_formatter(PercentFormatter(1))
    answers.xaxis.set_major_locator(MaxNLocator(integer=True))
    answers.set_xlabel("layer")
    return figure


def angular_distance(result: LanguageModel) -> Figure:
    """Angular distance over every block of layers: its first layer to the right, its length upwards."""
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


def pruned(result: LanguageModel) -> Figure:
    """Perplexity and zero-shot accuracy over the layers kept, a line for each way of choosing them."""
    figure, (text, answers) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    ways = list(dict.fromkeys(choice.way for choice in result.pruned))
    for (way, style), shift in zip(_styles(ways).items(), np.linspace(-0.3, 0.3, len(ways)), strict=True):
        mine = [choice for choice in result.pruned if choice.way == way]
        sizes = np.array([len(choice.layers) for choice in mine]) + shift
        _intervals(text, sizes, [choice.perplexity for choice in mine], label=way, **style)
        _intervals(answers, sizes, [choice.accuracy for choice in mine], label=way, **style)
    text.axhline(result.perplexity_unpruned.value, color="0.4", linestyle="--", linewidth=1)
    answers.axhline(result.accuracy_unpruned.value, color="0.4", linestyle="--", linewidth=1)
    answers.axhline(result.commonest_label, color="0.4", linestyle=":", linewidth=1)
    text.set(xlabel="layers kept", ylabel="perplexity", yscale="log")
    answers.set(xlabel="layers kept", ylabel="zero-shot accuracy")
    answers.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (text, answers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*text.get_legend_handles_labels(), loc="outside upper center", ncols=len(ways))
    return figure


def thirds(found: dict[str, list[Interval]]) -> Figure:
    """Where early, middle and late layers stand in each ranking that has thirds, with intervals: a row a ranking."""
    found = {name: thirds for name, thirds in found.items() if thirds}
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.38 * len(found)), layout="constrained")
    for third, (name, colour, marker) in enumerate(
        (("early", BLUE, "o"), ("middle", ORANGE, "s"), ("late", GREEN, "D"))
    ):
        places = np.arange(len(found)) + (third - 1) * 0.2
        values = [intervals[third] for intervals in found.values()]
        axes.hlines(places, [each.low for each in values], [each.high for each in values], color=colour)
        axes.plot([each.value for each in values], places, marker, color=colour, label=name)
    axes.axvline(0.5, color="0.4", linewidth=1)
    axes.set_yticks(range(len(found)), [name.replace("_", " ") for name in found])
    axes.invert_yaxis()
    axes.set(xlabel="mean place in the ranking (1: all others are less important)", xlim=(0, 1))
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def compression(result: Compression, baseline: Interval, claims: dict[float, float]) -> Figure:
    """Accuracy against the ratio of parameters: every choice as it is, and the healed ones; what was claimed beside."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5.6), sharey=True, layout="constrained")
    _smaller(panels, result.plans, result.candidates, "accuracy")
    for axes in panels:
        axes.plot(list(claims), list(claims.values()), "x", color="red", markersize=9, label="claimed, not measured")
        for interval, colour, label in (
            (result.whole, "0.4", "the whole model"),
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


def kept(rows: list[dict]) -> Figure:
    """What each subject keeps of its accuracy against the layers it keeps: choices and blind ones, healed and not."""
    names = list(dict.fromkeys(row["subject"] for row in rows))
    figure, panels = _grid(len(names), 4.5, 4.2, sharey=True)
    for axes, subject in zip(panels, names, strict=True):
        mine = [row for row in rows if row["subject"] == subject and row["layers"]]
        main = list(dict.fromkeys(row["name"] for row in mine if row["healed"]))
        rest = [row for row in mine if row["name"] not in main and blind(row["name"])]
        axes.plot(
            [row["layers"] for row in rest],
            [row["kept"] for row in rest],
            "_",
            color="0.6",
            label="other blind choices",
        )
        for name, style in _styles([*main, ANEW]).items():
            for healed in (False, True):
                line = sorted(
                    (row for row in mine if (row["name"], row["healed"]) == (name, healed)),
                    key=lambda row: row["layers"],
                )
                if line:
                    found = [Interval(value=row["kept"], low=row["low"], high=row["high"], n=0) for row in line]
                    label = name.replace("_", " ") + (", healed" if healed else "")
                    look = style | {"linestyle": "-" if healed else ":"}
                    _intervals(axes, [row["layers"] for row in line], found, label=label, **look)
        axes.axhline(1, color="0.4", linewidth=1)
        axes.set(title=subject, xlabel="layers kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0].set_ylabel("share of the whole model's accuracy")
    _legend_below(figure, panels, columns=3)
    return figure


def latency(result: Compression) -> Figure:
    """Accuracy against the time that a batch takes, for each runtime; the ratio beside each point."""
    if not result.timings:
        figure, axes = plt.subplots(figsize=(9, 1))
        axes.text(0.5, 0.5, "no model was exported", ha="center")
        axes.set_axis_off()
        return figure
    sizes = sorted({timing.batch for timing in result.timings})
    figure, panels = plt.subplots(1, len(sizes), figsize=(9, 4), sharey=True, layout="constrained", squeeze=False)
    accuracies = {(each.ratio, name): found.accuracy for each in result.exported for name, found in each.judged.items()}
    runtimes = list(dict.fromkeys(timing.runtime for timing in result.timings))
    for axes, size in zip(panels[0], sizes, strict=True):
        for runtime, colour, marker in zip(runtimes, (BLUE, ORANGE, GREEN), "osD", strict=True):
            mine = [timing for timing in result.timings if (timing.runtime, timing.batch) == (runtime, size)]
            found = [accuracies[timing.ratio, runtime] for timing in mine]
            times = [timing.milliseconds for timing in mine]
            _intervals(axes, times, found, fmt=marker, color=colour, label=runtime.replace("_", " "))
            for timing, each in zip(mine, found, strict=True):
                axes.annotate(
                    f"{timing.ratio:g}x",
                    (timing.milliseconds, each.value),
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


def recommenders(metrics: dict[str, Metrics]) -> Figure:
    """What each recommender is worth by three measures, with intervals: a row a recommender."""
    figure, panels = plt.subplots(
        1, 3, figsize=(9, 1.3 + 0.32 * len(metrics)), sharey=True, layout="constrained", squeeze=False
    )
    rows = range(len(metrics))
    for axes, (measure, label) in zip(
        panels[0], (("hit_rate_10", "HR@10"), ("ndcg_10", "NDCG@10"), ("mrr", "MRR")), strict=True
    ):
        found = [getattr(each, measure) for each in metrics.values()]
        axes.hlines(rows, [each.low for each in found], [each.high for each in found], color=BLUE)
        axes.plot([each.value for each in found], rows, "o", color=BLUE)
        axes.set(xlabel=label, xlim=(0, None))
    panels[0, 0].set_yticks(rows, [name.replace("_", " ") for name in metrics])
    panels[0, 0].invert_yaxis()
    return figure


def worths(truths: dict[str, Graded]) -> Figure:
    """The Shapley value of each layer of several models, with intervals: a panel a model."""
    figure, panels = _grid(len(truths), 3.4, 3.6)
    for axes, (name, truth) in zip(panels, truths.items(), strict=True):
        _layers(axes, truth.shapley, truth.shapley_intervals)
        axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=name, xlabel="layer")
    panels[0].set_ylabel("Shapley value (nats)")
    return figure


def smaller_recommenders(result: Recommender) -> Figure:
    """NDCG@10 against the ratio of parameters: every choice as it is, and the healed ones; baselines beside."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True, layout="constrained")
    _smaller(panels, result.plans, result.candidates, "ndcg_10")
    whole = result.metrics["transformer"].ndcg_10
    for axes in panels:
        axes.axhspan(whole.low, whole.high, color="0.4", alpha=0.12, linewidth=0)
        axes.axhline(whole.value, color="0.4", linewidth=1, label="the whole model")
        for name, colour in zip(result.differences, (ORANGE, GREEN, "black"), strict=True):
            value = result.metrics[name].ndcg_10.value
            axes.axhline(value, color=colour, linewidth=1, linestyle="--", label=name.replace("_", " "))
        axes.set_ylim(0, None)
    panels[0].set_ylabel("NDCG@10, test products")
    _legend_below(figure, panels, columns=5)
    return figure


def _smaller(
    panels: Sequence[Axes], plans: list[Plan], candidates: list[Candidate] | list[SmallerRecommender], worth: str
) -> None:
    """What smaller models are worth against the ratio of parameters: as they are, and healed or learned anew."""
    reached = {plan.ratio: plan.reached for plan in plans}
    main = {candidate.name for candidate in candidates if candidate.healed}
    shown = [candidate for candidate in candidates if candidate.ratio in reached]
    styles = _styles(list(dict.fromkeys(candidate.name for candidate in shown)))
    for axes, title, learned in zip(panels, ("as they are", "healed, or learned anew"), (False, True), strict=True):
        drawn = {
            name: [c for c in shown if c.name == name and (c.healed or not c.layers) == learned] for name in styles
        }
        drawn = {name: mine for name, mine in drawn.items() if mine}
        for place, (name, mine) in enumerate(drawn.items()):
            ratios = [reached[candidate.ratio] * (1 + 0.003 * (place - len(drawn) / 2)) for candidate in mine]
            found = [getattr(candidate, worth) for candidate in mine]
            label = "random" if name.startswith("random_") and name not in main else name.replace("_", " ")
            if name in main or learned:
                _intervals(axes, ratios, found, label=label, **styles[name])
            else:
                faint = styles[name] | {"linestyle": "none", "alpha": 0.6}
                axes.plot(ratios, [each.value for each in found], label=label, **faint)
        axes.set(title=title, xlabel="parameters of the whole model to those left")


def _grid(panels: int, width: float, height: float, **options) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels of a size in inches, up to three in a row."""
    rows = ceil(panels / 3)
    columns = ceil(panels / rows)
    size = max(7, columns * width), rows * height
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    for empty in axes.flat[panels:]:
        empty.remove()
    return figure, axes.flat[:panels]


def _layers(axes: Axes, values: list[float], bounds: list[tuple[float, float]], shift: float = 0, **style) -> None:
    """A value a layer, with its interval."""
    values, (low, high) = np.array(values), np.array(bounds).T
    look = {"fmt": "o", "color": BLUE, "capsize": 3} | style
    arms = np.clip([values - low, high - values], 0, None)
    axes.errorbar(np.arange(len(values)) + shift, values, yerr=arms, **look)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend_below(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """One legend for all panels, each label once, as it looks in the last of them that has it."""
    shown = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    unique = {label: handle for handle, label in shown}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=columns, fontsize="small")


def _intervals(axes: Axes, places: Sequence[float], found: list[Interval], **style) -> None:
    """Estimates with their intervals. (A percentile interval need not hold its estimate: then it has one arm.)"""
    arms = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
    axes.errorbar(places, [each.value for each in found], yerr=np.clip(arms, 0, None), capsize=3, **style)


def _styles(names: list[str]) -> dict[str, dict]:
    """A colour and a marker a method, black for fusions, red for what the table of sub-networks chose, grey for what
    looks at nothing: told apart without colour as well."""
    kinds = {"table": [], "fused": [], "blind": [], "method": []}
    for name in names:
        of_table, fused = name in ("best_subset", "greedy"), name.split("_with_")[0] in RULES
        if name != ANEW:
            kinds["table" if of_table else "fused" if fused else "blind" if blind(name) else "method"].append(name)
    colours = sns.color_palette("colorblind", 10)
    greys = sns.color_palette("gray", len(kinds["blind"]) + 2)[1:-1]
    styles = {ANEW: {"color": "purple", "marker": "s", "markersize": 4, "linestyle": ":"}} if ANEW in names else {}
    for i, name in enumerate(kinds["method"]):
        styles[name] = {"color": colours[i % 10], "marker": "osD^v<>pPX*h"[i % 12], "markersize": 4}
    for i, name in enumerate(kinds["table"]):
        styles[name] = {"color": "darkred", "marker": "oX"[i % 2], "markersize": 6}
    for i, name in enumerate(kinds["fused"]):
        styles[name] = {"color": "black", "marker": "*dH8|_"[i % 6], "markersize": 6, "linestyle": "-."}
    for i, name in enumerate(kinds["blind"]):
        styles[name] = {"color": greys[i], "marker": "1234+x.,^v"[i % 10], "markersize": 5, "linestyle": "--"}
    return styles
