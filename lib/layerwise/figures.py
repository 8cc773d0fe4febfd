"""The book's figures, one function each. They draw what they are given and compute nothing."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from layerwise.results import ImportanceResult, Interval
from layerwise.reviews import QualityReport

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


def importance(result: ImportanceResult, units: dict[str, str]) -> Figure:
    """Scores of each method over the layers, with their intervals; logarithmic where all are above zero."""
    figure, panels = plt.subplots(1, len(units), figsize=(3.1 * len(units), 3.6), layout="constrained", squeeze=False)
    for axes, (method, unit) in zip(panels[0], units.items(), strict=True):
        scores, (low, high) = np.array(result.scores[method]), np.array(result.intervals[method]).T
        layers = np.arange(len(scores))
        axes.errorbar(layers, scores, yerr=[scores - low, high - scores], fmt="o", color=BLUE, capsize=3)
        if low.min() > 0:
            axes.set_yscale("log")
        else:
            axes.axhline(0, color="0.4", linewidth=1)
        axes.set(title=method.replace("_", " "), xlabel="layer", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def ranks(result: ImportanceResult) -> Figure:
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


def subjects(results: dict[str, ImportanceResult]) -> Figure:
    """What leaving out each layer costs, for every subject: log-probability above, accuracy below."""
    figure, panels = plt.subplots(
        2, len(results), figsize=(1.5 + 3.6 * len(results), 5.6), sharey="row", layout="constrained", squeeze=False
    )
    for (name, result), (upper, lower) in zip(results.items(), panels.T, strict=True):
        for axes, values, bounds in (
            (upper, result.scores["ablation"], result.intervals["ablation"]),
            (lower, result.accuracy_drop, result.accuracy_drop_intervals),
        ):
            values, (low, high) = np.array(values), np.array(bounds).T
            axes.errorbar(
                range(len(values)), values, yerr=[values - low, high - values], fmt="o", color=BLUE, capsize=3
            )
            axes.axhline(0, color="0.4", linewidth=1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        upper.set_title(name)
        lower.set_xlabel("layer left out")
        lower.yaxis.set_major_formatter(PercentFormatter(1))
    panels[0, 0].set_ylabel("log-probability lost (nats)")
    panels[1, 0].set_ylabel("accuracy lost")
    return figure
