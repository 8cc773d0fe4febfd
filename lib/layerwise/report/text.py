"""Sentences of the pages from results. They claim no more than the intervals show."""

from collections import Counter
from itertools import combinations
from statistics import median

import pandas as pd

from layerwise.budget import CompressionPlan
from layerwise.grading import BASELINES, GOOD_PERCENTILE, Grading, pairwise_taus
from layerwise.ranking import FUSION_RULES, is_fused, kendall_taus
from layerwise.statistics import SIGNIFICANCE, Interval, combine_seeds
from layerwise.study.schemas import (
    AdvancedImportanceResult,
    CheckedClaim,
    CompressionResult,
    CoreImportanceResult,
    ExpertOpinions,
    FusionResult,
    GroundTruthResult,
    LanguageModelResult,
    Provenance,
    RecommenderResult,
)

NOT_MEASURED = "None of these studies measured it."


def describe_run(provenance: Provenance, data: str, model: str | None = None) -> str:
    """One line for the foot of a page: profile, model, data, seed, commit, device, date."""
    parameters = provenance.parameters
    models = [model] if model else parameters.get("models") or [parameters.get("base_model") or parameters["llm"]]
    seeds = parameters.get("seeds") or [parameters["seed"]]
    return (
        f"profile {parameters['profile']}, model {', '.join(models)}, seed {', '.join(map(str, seeds))}, {data}, "
        f"commit {provenance.commit}, {provenance.device}, threads: {provenance.threads}, {provenance.finished[:10]}"
    )


def write_markdown(title: str, sections: dict[str, list[str | pd.DataFrame]], foot: str) -> str:
    """A document in Markdown: under each heading its paragraphs, its tables, and its figures by their files."""
    parts = [f"# {title}"]
    for heading, contents in sections.items():
        parts.append(f"## {heading}")
        for content in contents:
            if isinstance(content, pd.DataFrame):
                heads = [" ".join(filter(None, name)) if isinstance(name, tuple) else name for name in content]
                parts.append(content.set_axis(heads, axis=1).to_markdown(index=False, disable_numparse=True))
            else:
                parts.append(f"![{heading}]({content})" if content.endswith(".png") else content)
    return "\n\n".join([*parts, "---", foot]) + "\n"


def bullet_list(texts: dict[str, str]) -> str:
    """A list in Markdown: a text for each study, model or run."""
    return "\n".join(f"- **{name}.** {text}" for name, text in texts.items()) or NOT_MEASURED


def describe_difference(difference: Interval, first: str, second: str) -> str:
    """Which of two models is better, as far as the interval of their difference shows."""
    points, low, high = (100 * edge for edge in (difference.value, difference.low, difference.high))
    interval = f"95 % interval {low:+.1f} to {high:+.1f}, {difference.n:,} reviews"
    if low > 0:
        return f"{first} beats {second} by {points:.1f} points ({interval})."
    if high < 0:
        return f"{first} loses to {second} by {-points:.1f} points ({interval})."
    return (
        f"There is no winner: {first} differs from {second} by {points:+.1f} points ({interval}), which may be chance."
    )


def describe_difference_over_seeds(differences: list[Interval], first: str, second: str) -> str:
    """With how many seeds the first model is better or worse; of one seed, `describe_difference`."""
    if len(differences) == 1:
        return describe_difference(differences[0], first, second)
    mean = combine_seeds(differences)
    beats, loses = sum(each.low > 0 for each in differences), sum(each.high < 0 for each in differences)
    return (
        f"With a 95 % interval that excludes zero, {first} beats {second} in {beats or 'none'} of {len(differences)} "
        f"seeds and loses to it in {loses or 'none'}. The mean difference is {100 * mean.value:+.1f} points; the "
        f"intervals reach from {100 * mean.low:+.1f} to {100 * mean.high:+.1f}."
    )


def describe_ablation(result: CoreImportanceResult) -> str:
    """Which single layers the model needs, as far as the intervals of ablation show."""
    bounds = result.intervals["ablation"]
    needed = [layer for layer, (low, _) in enumerate(bounds) if low > 0]
    harmful = [layer for layer, (_, high) in enumerate(bounds) if high < 0]
    unclear = len(bounds) - len(needed) - len(harmful)
    worst = max(range(len(bounds)), key=lambda layer: result.accuracy_drop[layer])
    low, high = (100 * edge for edge in result.accuracy_drop_intervals[worst])
    return (
        f"Without one of the {len(bounds)} layers, the log-probability of the true label is lower for "
        f"{_layers(needed)} and higher for {_layers(harmful)}; for {unclear} the interval includes zero. The largest "
        f"drop of accuracy, at layer {worst}, is {100 * result.accuracy_drop[worst]:.1f} points (95 % interval "
        f"{low:+.1f} to {high:+.1f})."
    )


def describe_sanity_checks(result: AdvancedImportanceResult, claims: dict[str, bool]) -> str:
    """Which methods detect the planted layers; `claims` has for each whether it should."""
    detected = [method for method, check in result.sanity.items() if check.zero and check.last]
    missed = [method for method, check in result.sanity.items() if not check.zero]
    tied = [method for method, check in result.sanity.items() if check.zero and not check.last]
    unexpected = [method for method in (*missed, *tied) if claims[method]]
    sentences = [f"Layers {_names(result.planted)} of the extended model change nothing."]
    for start, methods in (
        ("Scored zero and ranked last by", detected),
        ("Not scored zero by", missed),
        ("Scored zero, but with other layers as close to zero, by", tied),
        ("They should be detected, but were not, by", unexpected),
    ):
        if methods:
            sentences.append(f"{start} {_names(methods)}.")
    return " ".join(sentences)


def describe_best_method(truth: Grading) -> str:
    """Which score to trust, as far as the intervals show."""
    methods = [name for name in truth.summary if name not in BASELINES]
    top = max(methods, key=lambda method: truth.summary[method].percentile.value)
    mean = truth.summary[top].percentile
    interval = f"95 % interval {mean.low:.0%} to {mean.high:.0%}"
    equal = [m for m in methods if m != top and truth.summary[m].behind_best.low <= 0]
    worse = [m for m in methods if m != top and truth.summary[m].behind_best.low > 0]
    not_above_chance = [m for m in methods if truth.summary[m].percentile.low <= 0.5]
    if not_above_chance == methods:
        return (
            f"No score is shown to select better than chance. The highest mean percentile is that of {_name(top)}, "
            f"{mean.value:.0%} ({interval}); random layers have 50%."
        )
    sentences = [
        f"Over all sizes {_name(top)} has the highest mean percentile: its layers are better than {mean.value:.0%} "
        f"of all other choices of the same size ({interval})."
    ]
    if worse:
        sentences.append(f"Worse than these, beyond the 95 % interval: the layers of {_names(worse)}.")
    if equal:
        sentences.append(f"Not shown to be worse: {_names(equal)}.")
    if not_above_chance:
        sentences.append(f"Not shown to select better than chance: {_names(not_above_chance)}.")
    return " ".join(sentences)


def describe_baselines(truth: Grading) -> str:
    """Which methods are better than the position baselines."""
    methods = [name for name in truth.summary if name not in BASELINES]
    baseline = max(BASELINES[:3], key=lambda name: truth.summary[name].percentile.value)
    mean = truth.summary[baseline].percentile
    better = [m for m in methods if truth.summary[m].percentile.low > mean.high]
    reversed_better = [
        m
        for m in methods
        if (reverse := truth.summary[m].reversed_percentile) and reverse.low > truth.summary[m].percentile.high
    ]
    sentences = [
        f"The best position baseline is the {baseline} layers: the mean percentile is {mean.value:.0%} (95 % interval "
        f"{mean.low:.0%} to {mean.high:.0%}).",
        f"Above it, with separate intervals: {_names(better)}.",
    ]
    if reversed_better:
        sentences.append(f"Better with the reversed ranking, which keeps the lowest scores: {_names(reversed_better)}.")
    return " ".join(sentences)


def describe_expert(expert: ExpertOpinions) -> str:
    """Who was asked as an expert, and how far its answers agree."""
    taus = list(kendall_taus({str(i): ranks for i, ranks in enumerate(expert.ranks)}).values())
    agreement = f"; between two of its answers Kendall's tau is {sum(taus) / len(taus):.2f} on average" if taus else ""
    times = "once" if len(expert.ranks) == 1 else f"{len(expert.ranks)} times"
    return f"{expert.answered_by} was asked {times} on {expert.asked[:10]}{agreement}."


def describe_fusion_rules(result: FusionResult) -> str:
    """At which ratios all rules of fusion keep the same layers."""
    same = {ratio: len({tuple(kept[ratio]) for kept in result.kept.values()}) == 1 for ratio in result.layers_left}
    reached = [ratio for ratio, left in result.layers_left.items() if left]
    agree = [f"{ratio}x" for ratio in reached if same[ratio]]
    differ = [f"{ratio}x" for ratio in reached if not same[ratio]]
    sentences = [f"All rules keep the same layers at {_names(agree)}."] if agree else []
    sentences += [f"The rules differ at {_names(differ)}."] if differ else []
    unreached = [f"{ratio}x" for ratio, left in result.layers_left.items() if not left]
    sentences += [f"Leaving out layers alone does not reach {_names(unreached)}."] if unreached else []
    return " ".join(sentences)


def describe_method_agreement(result: FusionResult, methods: list[str]) -> str:
    """Which two methods agree most, and which least."""
    taus = {
        (one, other): result.agreement[result.ranked.index(one)][result.ranked.index(other)]
        for one, other in combinations(methods, 2)
    }
    most, least = max(taus, key=taus.__getitem__), min(taus, key=taus.__getitem__)
    return (
        f"Of all pairs {_names([*most])} agree most (Kendall's tau {taus[most]:.2f}), and {_names([*least])} least "
        f"({taus[least]:.2f})."
    )


def describe_pairwise_agreement(truth: Grading, methods: tuple[str, ...]) -> str:
    """How many pairs of methods agree on the layers, as far as the intervals of Kendall's tau show."""
    taus = pairwise_taus(truth, methods)
    above, below = sum(tau.low > 0 for tau in taus), sum(tau.high < 0 for tau in taus)
    return (
        f"Of the {len(taus)} pairs of methods, {above} have a Kendall's tau above zero and {below} below zero, with "
        f"their whole 95 % intervals over examples. The median is {median(tau.value for tau in taus):.2f}."
    )


def describe_claims(where: str, checked: list[CheckedClaim]) -> str:
    """How many measured accuracies are above, below or at the claimed ones."""
    count = Counter(each.verdict for each in checked)
    return (
        f"{len(checked)} test accuracies of {where}, of whole and smaller models, have a claimed counterpart. The "
        f"interval is above the claim for {count['above']}, below it for {count['below']}, and contains it for "
        f"{count['within']}."
    )


def describe_runs_above_chance(rows: list[dict]) -> str:
    """In how many runs each method or fusion is shown to be better than chance and than the baselines.

    Args:
        rows: of `tables.runs_above_chance_table`.
    """
    if not rows:
        return NOT_MEASURED
    methods = [row for row in rows if row["kind"] != "baseline"]
    baseline = max((row for row in rows if row["kind"] == "baseline"), key=lambda row: row["runs above chance"])
    return (
        f"Of {rows[0]['runs']} recorded runs, those whose 95 % interval of the mean percentile lies above chance: "
        f"{_count_names(methods, 'runs above chance')}; of the baselines, {baseline['selected by']} has the most, "
        f"{baseline['runs above chance']}. Runs below chance: {_count_names(methods, 'runs below chance')}. Runs above "
        f"the intervals of all four baselines, a stricter test: {_count_names(methods, 'runs above all baselines')}."
    )


def describe_fusion_regret(truth: GroundTruthResult) -> str:
    """Regret of the fused rankings, beside the best and the median single method."""
    regrets = {name: summary.regret for name, summary in truth.summary.items() if name not in BASELINES}
    fused = [f"{_name(name)} {_loss(regret)}" for name, regret in regrets.items() if is_fused(name)]
    single = sorted((name for name in regrets if not is_fused(name)), key=lambda name: regrets[name].value)
    best, middle = single[0], single[(len(single) - 1) // 2]
    return (
        f"Mean regret over all sizes, in points of accuracy with 95 % intervals: {_list(fused)}. The best single "
        f"method is {_name(best)}, {_loss(regrets[best])}; the median is {_name(middle)}, {_loss(regrets[middle])}. "
        "(The best single method is selected after the fact, on these very reviews.)"
    )


def describe_fusion_percentiles(rows: list[dict]) -> str:
    """Percentile of the best fused ranking of a model at each ratio, and that of the best single method.

    Args:
        rows: of `tables.fusion_table`, of one model.
    """
    pairs = []
    for row in rows:  # there is no Kemeny ranking of many layers
        rules = [rule for rule in FUSION_RULES if isinstance(row.get(rule), Interval)]
        pairs.append((row, max(rules, key=lambda rule: row[rule].value)))
    good = [row["ratio"] for row, rule in pairs if row[rule].value >= GOOD_PERCENTILE]
    surely_good = [row["ratio"] for row, rule in pairs if row[rule].low >= GOOD_PERCENTILE]
    beaten = [row["ratio"] for row, rule in pairs if row[rule].value < row["best percentile"].value]
    not_good = [f"{row['good methods']} at {row['ratio']:g}x" for row, _ in pairs if row["ratio"] not in good]
    sentences = [
        f"The best fused ranking has a percentile of {GOOD_PERCENTILE:.0%} or more at {_ratios(good)}, and with its "
        f"whole interval at {_ratios(surely_good)}. The best single method is above it at {_ratios(beaten)}."
    ]
    sentences += [
        f"At {row['ratio']:g}x ({row['layers']} layers, {row['sub-networks']:,} sub-networks): {_name(rule)} "
        f"{row[rule]:.0%}, {_name(row['best method'])} {row['best percentile']:.0%}."
        for row, rule in pairs
    ]
    if not_good:
        sentences.append(
            f"Methods with {GOOD_PERCENTILE:.0%} or more, where the fused ranking has less: {_list(not_good)}."
        )
    return " ".join(sentences)


def describe_expert_agreement(truth: GroundTruthResult) -> str:
    """How far the expert's ranking agrees with the ground truth."""
    if "expert" not in truth.ranked:
        return "No expert gave an opinion in this build, so there is nothing to measure."
    row, shapley = truth.ranked.index("expert"), truth.ranked.index("shapley_value")
    tau, low, high = (m[row][shapley] for m in (truth.agreement, truth.agreement_low, truth.agreement_high))
    side = "is above zero" if low > 0 else "is below zero" if high < 0 else "includes zero: no agreement is shown"
    return (
        f"Kendall's tau of the expert's ranking with the exact Shapley values is {tau:.2f}; its 95 % interval over "
        f"examples, {low:.2f} to {high:.2f}, {side}."
    )


def describe_interactions(truth: Grading) -> str:
    """Which layers replace each other, as far as the intervals show."""
    if not truth.interactions:
        return "Interactions need the complete table, and were not computed here."
    replace = {pair: interval for pair, interval in truth.interactions.items() if interval.high < 0}
    need = {pair: interval for pair, interval in truth.interactions.items() if interval.low > 0}
    sentences = [
        f"Of the {len(truth.interactions)} pairs of layers, {len(replace)} replace each other and {len(need)} need "
        "each other, with 95 % intervals that exclude zero."
    ]
    if replace:
        pair = min(replace, key=lambda name: replace[name].value)
        sentences.append(
            f"Layers {_names(pair.split('-'))} replace each other most ({replace[pair].value:+.3f} nats, interval "
            f"{replace[pair].low:+.3f} to {replace[pair].high:+.3f})."
        )
    return " ".join(sentences)


def describe_thirds(thirds: list[Interval]) -> str:
    """Which third of the depth is ranked above or below the others, as far as the intervals show."""
    if not thirds:
        return "there are too few layers to say."
    names = dict(zip(("early", "middle", "late"), thirds, strict=True))
    top, between, bottom = sorted(names, key=lambda name: -names[name].value)
    verdicts = []
    if names[top].low > max(names[between].high, names[bottom].high):
        verdicts.append(f"the {top} layers rank highest")
    if names[bottom].high < min(names[between].low, names[top].low):
        verdicts.append(f"the {bottom} layers rank lowest")
    verdict = (
        f"{' and '.join(verdicts)}, with separate intervals" if verdicts else "no third ranks apart from the others"
    )
    places = _list([f"{place:.2f} for the {name} third" for name, place in names.items()])
    return f"{verdict}. The mean place is {places}, with 95 % intervals."


def describe_language_model(result: LanguageModelResult) -> str:
    """Perplexity and zero-shot accuracy of a language model, its important layers, and the effects of pruning."""
    shown = "" if result.accuracy_unpruned.low > result.majority_accuracy else "not "
    return (
        f"On {result.evaluated:,} reviews, truncated to {result.provenance.parameters['max_length']} tokens, its "
        f"perplexity is {result.perplexity_unpruned:,.0f}. Its zero-shot accuracy on their sentiment is "
        f"{result.accuracy_unpruned:.1%}, {shown}shown to be above the majority accuracy of "
        f"{result.majority_accuracy:.1%}. Ranked by Block Influence on {result.scored:,} other reviews: "
        f"{describe_thirds(result.thirds['block influence'])} Ranked by perplexity when left out alone: "
        f"{describe_thirds(result.thirds['left out alone'])} {describe_pruning(result)}"
    )


def describe_pruning(result: LanguageModelResult) -> str:
    """Perplexity and accuracy of the pruned models at each ratio, and the best method of selection."""
    sentences = []
    for ratio in dict.fromkeys(pruned.ratio for pruned in result.pruned):
        methods = {pruned.method: pruned for pruned in result.pruned if pruned.ratio == ratio}
        best = min(methods.values(), key=lambda pruned: pruned.perplexity.value)
        top = [method for method, pruned in methods.items() if pruned.layers == best.layers]
        higher = [method for method, pruned in methods.items() if pruned.perplexity.low > best.perplexity.high]
        above = [method for method, pruned in methods.items() if pruned.accuracy.low > result.majority_accuracy]
        increase = best.perplexity.value / result.perplexity_unpruned.value
        times = f"{increase:,.0f}" if increase > 100 else f"{increase:.2g}"
        sentences.append(
            f"At {ratio:g}x the model keeps {len(best.layers)} of {result.model.layers} layers. The lowest perplexity "
            f"is that of {_names(top)}, {times} times that of the whole model; higher with separate intervals: "
            f"{_names(higher)}. Accuracy shown to be above the majority accuracy: {_names(above)}."
        )
    unreached = [f"{ratio}x" for ratio, left in result.layers_left.items() if not left]
    if unreached:
        sentences.append(f"Leaving out layers alone does not reach {_names(unreached)}.")
    return " ".join(sentences)


def describe_depth_need(truth: GroundTruthResult) -> str:
    """Whether the model needs its depth: the accuracy that it loses with half of its layers."""
    verdicts = {
        True: "This model needs its depth",
        False: "This model hardly needs its depth",
        None: "Whether this model needs its depth is within the noise of these reviews",
    }
    return (
        f"{verdicts[truth.needs_depth]}. Accuracy lost, in points with 95 % intervals: {_loss(truth.random_half_loss)} "
        f"with a random half of its layers, on average; {_loss(truth.best_half_loss)} with the best half, on the same "
        "reviews that show it to be the best."
    )


def describe_plans(plans: list[CompressionPlan]) -> str:
    """How each ratio is reached, and which cannot be reached."""
    layers = _list([f"{plan.layers} at {plan.ratio:g}x" for plan in plans])
    sentences = [f"Layers left, of {plans[0].depth}: {layers}."]
    if trimmed := [plan.ratio for plan in plans if plan.trimmed]:
        sentences.append(
            f"Leaving out layers alone does not reach {_ratios(trimmed)}: there the vocabulary is trimmed too, which "
            "leaves room for more layers."
        )
    for plan in plans:
        if plan.reached < plan.ratio:
            sentences.append(f"{plan.ratio:g}x cannot be reached; the nearest is {plan.reached:.2f}x.")
    return " ".join(sentences)


def describe_retention(result: CompressionResult) -> str:
    """Accuracy kept by the healed models of the first selection at each ratio, and where they are not inferior."""
    healed = {c.ratio: c for c in result.candidates if c.name == result.choice and c.healed}
    kept = [f"{healed[plan.ratio].retention:.1%} at {plan.at}" for plan in result.plans]
    not_inferior = [plan.at for plan in result.plans if healed[plan.ratio].p_value < SIGNIFICANCE]
    return (
        f"Accuracy kept after healing with the layers selected by {_name(result.choice)}, as a share of the whole "
        f"model's, with 95 % intervals: {_list(kept)}. Shown to lose less than one point, p below {SIGNIFICANCE}: "
        f"{_names(not_inferior)}."
    )


def describe_selection_effect(choice: str, contrasts: dict[str, dict[str, Interval]], measure: str = "accuracy") -> str:
    """Whether the selection of layers matters, before and after healing, as far as the intervals show."""
    ratios = [ratio for ratio, named in contrasts.items() if "choice_after" in named]
    if not ratios:
        return "No baseline was healed, so there is nothing to compare with."
    before, after = ({ratio: contrasts[ratio][f"choice_{when}"] for ratio in ratios} for when in ("before", "after"))
    sentences = [
        f"The selection of layers is shown to help at {_where_it_helps(before)} before healing, and at "
        f"{_where_it_helps(after)} after healing. The {measure} of {_name(choice)} less that of the healed baselines, "
        "in points, with intervals that do not cover the luck of these few baselines."
    ]
    sentences += [
        f"At {float(ratio):g}x: {before[ratio].points} before, {after[ratio].points} after healing." for ratio in ratios
    ]
    if same := [ratio for ratio in ratios if before[ratio].low == before[ratio].high]:
        sentences.append(f"At {_ratios(same)} there is no difference before healing.")
    return " ".join(sentences)


def describe_compression_baselines(result: CompressionResult) -> str:
    """Whether a healed model beats one trained from scratch at equal compute, and the linear classifier."""
    sentences = []
    for name, baseline in (
        ("from_scratch", "an equally deep model trained from scratch at equal compute"),
        ("linear", "the linear classifier"),
    ):
        contrasts = {ratio: named[name] for ratio, named in result.contrasts.items()}
        sentences.append(f"Healed model less {baseline}, in points: {_differences(contrasts)}")
    if result.at_chance:
        accuracies = _list([f"{c.accuracy.value:.1%} at {c.ratio:g}x" for c in result.at_chance])
        sentences.append(f"The model trained from scratch is not shown to be above chance: {accuracies}.")
    return " ".join(sentences)


def describe_contrasts(rows: list[dict]) -> str:
    """For how many smaller models the selection of layers and healing are shown to matter.

    Args:
        rows: of `tables.contrasts_table`.
    """

    def count(name: str) -> str:
        contrasts = [row[name] for row in rows if isinstance(row[name], Interval)]
        better, worse = sum(each.low > 0 for each in contrasts), sum(each.high < 0 for each in contrasts)
        return f"better in {better or 'none'} and worse in {worse or 'none'} of {len(contrasts)}"

    if not rows:
        return NOT_MEASURED
    sentences = [
        f"Compared with baselines, the selected layers are shown to be {count('choice_before')} models before healing, "
        f"and {count('choice_after')} after healing.",
        f"Compared with models trained from scratch at equal compute, healed models are {count('from_scratch')}; "
        f"compared with the linear classifier, {count('linear')}.",
    ]
    if at_chance := [f"{row['ratio']} of {row['model']}" for row in rows if row["at_chance"]]:
        sentences.append(f"The model trained from scratch is not shown to be above chance at {_list(at_chance)}.")
    return " ".join(sentences)


def describe_speed(result: CompressionResult, ratio: float) -> str:
    """How much faster the smaller model is than the whole one for each batch size, and how much smaller it is."""
    if not result.timings:
        return "This run exported no model, so nothing was timed."
    times = {(t.ratio, t.runtime, t.batch): t.milliseconds for t in result.timings}
    speedups = {
        (size, runtime): f"{times[1, runtime, size] / times[ratio, runtime, size]:.1f} times"
        for runtime in ("pytorch", "onnx")
        for size in sorted({size for _, _, size in times})
    }
    sentences = [
        f"At a batch of {size}, the model at {ratio:g}x is {speedups[size, 'pytorch']} as fast in PyTorch and "
        f"{speedups[size, 'onnx']} in onnxruntime as the whole model in the same runtime."
        for size in dict.fromkeys(size for size, _ in speedups)
    ]
    whole, smaller = ({each.ratio: each for each in result.exported}[r] for r in (1, ratio))
    quantized = times[1, "pytorch", 1] / times[ratio, "onnx_int8", 1]
    return (
        f"{' '.join(sentences)} For one review, the whole model in PyTorch takes {quantized:.1f} times as long as the "
        f"smaller one in onnxruntime with 8 bits. The smaller model has {whole.parameters / smaller.parameters:.1f} "
        f"times fewer parameters, and {whole.macs / smaller.macs:.1f} times fewer multiplications."
    )


def describe_recommenders(result: RecommenderResult) -> str:
    """Whether the Transformer beats each of the baselines, and by how much."""
    own = result.metrics["transformer"].ndcg_10
    sentences = [f"NDCG@10 of the Transformer is {own.value:.4f} (95 % interval {own.low:.4f} to {own.high:.4f})."]
    for name, difference in result.differences.items():
        other = result.metrics[name].ndcg_10.value
        interval = f"{difference.value:+.4f}, interval {difference.low:+.4f} to {difference.high:+.4f}"
        if difference.low > 0:
            sentences.append(f"It beats {_name(name)} ({other:.4f}) by {difference.value / other:.0%} ({interval}).")
        elif difference.high < 0:
            sentences.append(
                f"It loses to {_name(name)} ({other:.4f}) by {-difference.value / other:.0%} ({interval})."
            )
        else:
            sentences.append(f"No difference from {_name(name)} is shown ({other:.4f}; {interval}).")
    return " ".join(sentences)


def describe_loss_of_half(truth: Grading) -> str:
    """NDCG@10 that a recommender loses with half of its layers."""
    whole, loss, best = truth.sizes[max(truth.sizes)].best.value, truth.random_half_loss, truth.best_half_loss
    return (
        f"NDCG@10 lost with a random half of the layers: {loss.value:.4f} of {whole:.4f} on average (95 % interval "
        f"{loss.low:+.4f} to {loss.high:+.4f}). With the best half: {best.value:+.4f} ({best.low:+.4f} to "
        f"{best.high:+.4f}), on the users for whom it is the best."
    )


def describe_smaller_recommenders(result: RecommenderResult) -> str:
    """NDCG@10 kept by the smaller models of the first selection at each ratio, unhealed and healed."""
    kept = {(c.ratio, c.healed): c.retention for c in result.candidates if c.name == result.choice}
    sentences = [
        f"NDCG@10 kept with the layers selected by {_name(result.choice)}, as a share of the whole model's, with 95 % "
        "intervals."
    ]
    sentences += [
        f"At {plan.at}: {kept[plan.ratio, False]:.0%} unhealed, {kept[plan.ratio, True]:.0%} healed."
        for plan in result.plans
    ]
    return " ".join(sentences)


def describe_from_scratch(result: RecommenderResult) -> str:
    """Whether a healed recommender beats one trained from scratch at equal compute."""
    contrasts = {ratio: named["from_scratch"] for ratio, named in result.contrasts.items() if "from_scratch" in named}
    return f"Healed model less one trained from scratch, NDCG@10 in hundredths: {_differences(contrasts)}"


def _differences(contrasts: dict[str, Interval]) -> str:
    """The difference at each ratio, and where it is shown to be above or below zero."""
    points = _list([f"{interval.points} at {float(ratio):g}x" for ratio, interval in contrasts.items()])
    better = [ratio for ratio, interval in contrasts.items() if interval.low > 0]
    worse = [ratio for ratio, interval in contrasts.items() if interval.high < 0]
    return f"{points}. Shown to be better at {_ratios(better)}, worse at {_ratios(worse)}."


def _where_it_helps(contrasts: dict[str, Interval]) -> str:
    """The ratios at which a difference is shown to be above zero, and those at which below."""
    better = [ratio for ratio, interval in contrasts.items() if interval.low > 0]
    worse = [ratio for ratio, interval in contrasts.items() if interval.high < 0]
    return _ratios(better) + (f" (and to harm at {_ratios(worse)})" if worse else "")


def _count_names(rows: list[dict], column: str) -> str:
    """The names by their count, the highest first; those with none are left out."""
    names: dict[int, list[str]] = {}
    for row in sorted(rows, key=lambda row: -row[column]):
        names.setdefault(row[column], []).append(row["selected by"])
    return _list([f"{_names(counted)} {count}" for count, counted in names.items() if count] or ["none"])


def _name(name: object) -> str:
    return str(name).replace("_", " ")


def _names(names: list) -> str:
    return _list([_name(name) for name in names] or ["none"])


def _list(texts: list[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _ratios(ratios: list) -> str:
    return _names([f"{float(ratio):g}x" for ratio in ratios])


def _loss(interval: Interval) -> str:
    """A loss of accuracy in points (hundredths)."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _layers(layers: list[int]) -> str:
    names = f" ({', '.join(map(str, layers))})" if layers else ""
    return f"{len(layers) or 'no'} layer{'s' if len(layers) != 1 else ''}{names}"
