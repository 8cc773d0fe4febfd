"""Sentences that say what was found, and claim no more than the intervals bear."""

from collections import Counter
from itertools import combinations
from statistics import median

from layerwise.fusion import RULES, agreement
from layerwise.grading import CONTROLS, WELL
from layerwise.results import (
    AdvancedImportance,
    Compression,
    CoreImportance,
    Expert,
    Fusion,
    Graded,
    GroundTruth,
    Interval,
    LanguageModel,
    Plan,
    Recommender,
    Tested,
    over_seeds,
    taus,
)

SIGNIFICANT = 0.025  # of a one-sided test, as the 95 % intervals have it


def verdict(difference: Interval, first: str, second: str) -> str:
    """Who wins, in a sentence that claims no more than the interval of the difference bears."""
    points, low, high = (100 * edge for edge in (difference.value, difference.low, difference.high))
    interval = f"95 % interval {low:+.1f} to {high:+.1f}, {difference.n:,} reviews"
    if low > 0:
        return f"{first} beats {second} by {points:.1f} points ({interval})."
    if high < 0:
        return f"{first} loses to {second} by {-points:.1f} points ({interval})."
    return (
        f"There is no winner: {first} differs from {second} by {points:+.1f} points ({interval}), which may be chance."
    )


def verdict_of_seeds(differences: list[Interval], first: str, second: str) -> str:
    """Who wins with how many seeds; with one seed the `verdict`."""
    if len(differences) == 1:
        return verdict(differences[0], first, second)
    mean = over_seeds(differences)
    beats, loses = sum(each.low > 0 for each in differences), sum(each.high < 0 for each in differences)
    return (
        f"Of {len(differences)} seeds {first} beats {second} with {beats or 'none'} and loses to it with "
        f"{loses or 'none'}, their 95 % intervals apart from zero; the mean difference is {100 * mean.value:+.1f} "
        f"points, and the intervals reach from {100 * mean.low:+.1f} to {100 * mean.high:+.1f}."
    )


def depth_story(result: CoreImportance) -> str:
    """Which layers the model needs one by one, as far as the intervals of ablation tell."""
    bounds = result.intervals["ablation"]
    needed = [layer for layer, (low, _) in enumerate(bounds) if low > 0]
    harmful = [layer for layer, (_, high) in enumerate(bounds) if high < 0]
    unclear = len(bounds) - len(needed) - len(harmful)
    worst = max(range(len(bounds)), key=lambda layer: result.accuracy_drop[layer])
    low, high = (100 * edge for edge in result.accuracy_drop_intervals[worst])
    return (
        f"Left out one at a time, {_listed(needed)} of {len(bounds)} lower the true label's log-probability, "
        f"{_listed(harmful)} raise it, and for {unclear} the interval includes zero. The largest drop of accuracy, at "
        f"layer {worst}, is {100 * result.accuracy_drop[worst]:.1f} points (95 % interval {low:+.1f} to {high:+.1f})."
    )


def sanity_story(result: AdvancedImportance, claims: dict[str, bool]) -> str:
    """Which methods find the planted layers; `claims` says of each whether it should."""
    found = [method for method, said in result.sanity.items() if said.zero and said.last]
    blind = [method for method, said in result.sanity.items() if not said.zero]
    tied = [method for method, said in result.sanity.items() if said.zero and not said.last]
    broken = [method for method in (*blind, *tied) if claims[method]]
    sentences = [f"Layers {_and(result.planted)} of the extended model change nothing."]
    for methods, said in (
        (found, "A score of zero, and the last place, by"),
        (blind, "Not seen, and scored other than zero, by"),
        (tied, "A score of zero, but with other layers as near to it, by"),
        (broken, "It should have been seen, and was not, by"),
    ):
        if methods:
            sentences.append(f"{said} {_and(methods)}.")
    return " ".join(sentences)


def trust_story(truth: Graded) -> str:
    """Which score to trust, as far as the intervals tell."""
    methods = [name for name in truth.summary if name not in CONTROLS]
    top = max(methods, key=lambda method: truth.summary[method].percentile.value)
    mean = truth.summary[top].percentile
    equal = [m for m in methods if m != top and truth.summary[m].behind.low <= 0]
    worse = [m for m in methods if m != top and truth.summary[m].behind.low > 0]
    blind = [m for m in methods if truth.summary[m].percentile.low <= 0.5]
    if blind == methods:
        return (
            f"No score is shown to choose better than chance. The highest mean percentile is that of {_and([top])}, "
            f"{mean.value:.0%} (95 % interval {mean.low:.0%} to {mean.high:.0%}), where a blind choice has 50%."
        )
    sentences = [
        f"Over all sizes {_and([top])} has the highest mean percentile: its layers are worth more than those of "
        f"{mean.value:.0%} of all choices of the same size (95 % interval {mean.low:.0%} to {mean.high:.0%})."
    ]
    if worse:
        sentences.append(f"Worth less than its choices beyond the 95 % interval: those of {_and(worse)}.")
    if equal:
        sentences.append(f"Not told apart from it by what the choices are worth: {_and(equal)}.")
    if blind:
        sentences.append(f"Not shown to choose better than chance: {_and(blind)}.")
    return " ".join(sentences)


def control_story(truth: Graded) -> str:
    """Whether methods do better than controls that look at nothing."""
    methods = [name for name in truth.summary if name not in CONTROLS]
    control = max(CONTROLS[:3], key=lambda name: truth.summary[name].percentile.value)
    mean = truth.summary[control].percentile
    better = [m for m in methods if truth.summary[m].percentile.low > mean.high]
    wrong = [m for m in methods if truth.summary[m].reversed_percentile.low > truth.summary[m].percentile.high]
    sentences = [
        f"The best choice that looks at nothing is the {control} layers: the mean percentile is {mean.value:.0%} (95 % "
        f"interval {mean.low:.0%} to {mean.high:.0%}).",
        f"Clearly above it, their intervals apart: {_and(better)}.",
    ]
    if wrong:
        sentences.append(
            f"The wrong way round, keeping what they call least important, {_and(wrong)} would choose better."
        )
    return " ".join(sentences)


def asked_story(expert: Expert) -> str:
    """Who was asked, and how far it agrees with itself."""
    taus = list(agreement({str(i): ranks for i, ranks in enumerate(expert.ranks)}).values())
    itself = f"; between two of its answers Kendall's tau is {sum(taus) / len(taus):.2f} on average" if taus else ""
    many = "once" if len(expert.ranks) == 1 else f"{len(expert.ranks)} times"
    return f"{expert.answered_by} was asked {many} on {expert.asked[:10]}{itself}."


def rules_story(result: Fusion) -> str:
    """At which ratios all rules of fusion keep the same layers."""
    same = {ratio: len({tuple(kept[ratio]) for kept in result.kept.values()}) == 1 for ratio in result.layers_left}
    possible = [ratio for ratio, left in result.layers_left.items() if left]
    agree = [f"{ratio}x" for ratio in possible if same[ratio]]
    differ = [f"{ratio}x" for ratio in possible if not same[ratio]]
    sentences = [f"All rules keep the same layers at {_and(agree)}."] if agree else []
    sentences += [f"The rules differ at {_and(differ)}."] if differ else []
    unreached = [f"{ratio}x" for ratio, left in result.layers_left.items() if not left]
    sentences += [f"Leaving out layers alone does not reach {_and(unreached)}."] if unreached else []
    return " ".join(sentences)


def voter_story(result: Fusion, methods: list[str]) -> str:
    """Which two methods agree most, and which least."""
    taus = {
        (one, other): result.agreement[result.ranked.index(one)][result.ranked.index(other)]
        for one, other in combinations(methods, 2)
    }
    alike, unlike = max(taus, key=taus.get), min(taus, key=taus.get)
    return (
        f"Of all pairs {_and(alike)} agree most (Kendall's tau {taus[alike]:.2f}), and {_and(unlike)} least "
        f"({taus[unlike]:.2f})."
    )


def agreement_story(truth: Graded, methods: tuple[str, ...]) -> str:
    """How many pairs of methods agree on the layers, as far as the intervals of Kendall's tau tell."""
    pairs = taus(truth, methods)
    above, below = sum(tau.low > 0 for tau in pairs), sum(tau.high < 0 for tau in pairs)
    return (
        f"Of the {len(pairs)} pairs of methods {above} have a Kendall's tau above zero and {below} one below it, with "
        f"the whole of their 95 % intervals over examples; the median is {median(tau.value for tau in pairs):.2f}."
    )


def claims_story(where: str, tested: list[Tested]) -> str:
    """On which side of what is claimed the measured figures lie."""
    count = Counter(each.verdict for each in tested)
    return (
        f"Of the {len(tested)} accuracies of {where} on test reviews, of whole models and smaller ones, the interval "
        f"lies above what is claimed for {count['above']}, below it for {count['below']}, and {count['within']} have "
        "it within."
    )


def trusted_story(rows: list[dict]) -> str:
    """Whose choices are shown to be better than chance, and than controls, in how many runs: `comparison.trusted`."""
    if not rows:
        return "None of these studies measured it."
    informed = [row for row in rows if row["kind"] != "control"]
    control = max((row for row in rows if row["kind"] == "control"), key=lambda row: row["above chance"])
    return (
        f"Of {rows[0]['runs']} recorded runs, so many have the mean percentile of a method's choices above chance, "
        f"with its whole interval: {_counted(informed, 'above chance')}; of the controls, which look at nothing, "
        f"{control['choice by']} the most, {control['above chance']}. Shown to be below chance: "
        f"{_counted(informed, 'below chance')}. And, which asks more than chance does, above the intervals of all four "
        f"controls: {_counted(informed, 'above controls')}."
    )


def _counted(rows: list[dict], column: str) -> str:
    """Who has how many, the most first; those who have none are left out."""
    names: dict[int, list[str]] = {}
    for row in sorted(rows, key=lambda row: -row[column]):
        names.setdefault(row[column], []).append(row["choice by"])
    return _list([f"{_and(who)} {count}" for count, who in names.items() if count] or ["none"])


def fusion_story(truth: GroundTruth) -> str:
    """What the fusions' choices lack to the best ones, beside the best and the median single method."""
    regrets = {name: said.regret for name, said in truth.summary.items() if name not in CONTROLS}
    fused = {name: regret for name, regret in regrets.items() if name.split("_with_")[0] in RULES}
    single = sorted((name for name in regrets if name not in fused), key=lambda name: regrets[name].value)
    best, middle = single[0], single[(len(single) - 1) // 2]
    beside = [(best, "the best single method"), (middle, "the median one")]
    said = [f"{_and([name])} {_points(regret)}" for name, regret in fused.items()]
    return (
        f"Mean regret over all sizes, in points of accuracy: of the fusions, {_list(said)}; beside them "
        + " and ".join(f"{place}, {_and([name])}, {_points(regrets[name])}" for name, place in beside)
        + ". (Which single method is the best is known only afterwards, on these very reviews.)"
    )


def votes_story(votes: list[dict]) -> str:
    """Whether the vote of all methods chooses well at each ratio, and which single method would have been the best.

    Args:
        votes: rows of `comparison.fused` of one subject.
    """
    pairs = []
    for vote in votes:
        rules = [rule for rule in RULES if isinstance(vote.get(rule), Interval)]  # Kemeny's is for few layers alone
        pairs.append((vote, max(rules, key=lambda rule: vote[rule].value)))
    said = [
        f"at {vote['ratio']:g}x, {vote['layers']} layers or {vote['choices']:,} choices, {_and([rule])} "
        f"{vote[rule]:.0%} beside {_and([vote['best']])} {vote['single']:.0%}"
        for vote, rule in pairs
    ]
    well = [vote["ratio"] for vote, rule in pairs if vote[rule].value >= WELL]
    sure = [vote["ratio"] for vote, rule in pairs if vote[rule].low >= WELL]
    beaten = [vote["ratio"] for vote, rule in pairs if vote[rule].value < vote["single"].value]
    why = [f"at {vote['ratio']:g}x {vote['good scores']}" for vote, _ in pairs if vote["ratio"] not in well]
    sentences = [
        f"The best of the votes stands at {WELL:.0%} or above at {_ratios(well)}, and with its whole interval at "
        f"{_ratios(sure)}; the best single score is above it at {_ratios(beaten)}. Both of them: {'; '.join(said)}."
    ]
    if why:
        sentences.append(f"Where it stands lower, so many of its voters stand at {WELL:.0%} or above: {_list(why)}.")
    return " ".join(sentences)


def expert_story(truth: GroundTruth) -> str:
    """What the expert's opinion was worth: how far it agrees with the ground truth."""
    if "expert" not in truth.ranked:
        return "No expert gave an opinion in this build, so there is nothing to measure."
    row, exact = truth.ranked.index("expert"), truth.ranked.index("shapley_value")
    tau, low, high = (m[row][exact] for m in (truth.agreement, truth.agreement_low, truth.agreement_high))
    side = "lies above zero" if low > 0 else "lies below zero" if high < 0 else "includes zero, which tells nothing"
    return (
        f"Kendall's tau of the expert's ranking with the exact Shapley values is {tau:.2f}; its 95 % interval over "
        f"examples, {low:.2f} to {high:.2f}, {side}."
    )


def interaction_story(truth: Graded) -> str:
    """Which layers stand in for each other, as far as the intervals tell."""
    if not truth.interactions:
        return "Interactions take the whole table, and were not computed here."
    instead = {pair: found for pair, found in truth.interactions.items() if found.high < 0}
    together = {pair: found for pair, found in truth.interactions.items() if found.low > 0}
    sentences = [
        f"Of the {len(truth.interactions)} pairs of layers, {len(instead)} stand in for each other and "
        f"{len(together)} need each other, their 95 % intervals apart from zero."
    ]
    if instead:
        pair = min(instead, key=lambda name: instead[name].value)
        sentences.append(
            f"Most of all {_and(pair.split('-'))} do the same work ({instead[pair].value:+.3f} nats, interval "
            f"{instead[pair].low:+.3f} to {instead[pair].high:+.3f})."
        )
    return " ".join(sentences)


def thirds_story(thirds: list[Interval]) -> str:
    """Which third of the depth is ranked above or below the others, as far as the intervals tell."""
    if not thirds:
        return "there are too few layers to say."
    names = dict(zip(("early", "middle", "late"), thirds, strict=True))
    top, between, bottom = sorted(names, key=lambda name: -names[name].value)
    verdicts = []
    if names[top].low > max(names[between].high, names[bottom].high):
        verdicts.append(f"the {top} layers stand highest")
    if names[bottom].high < min(names[between].low, names[top].low):
        verdicts.append(f"the {bottom} layers stand lowest")
    said = _list(
        [f"{each.value:.2f} for the {name} third ({each.low:.2f} to {each.high:.2f})" for name, each in names.items()]
    )
    verdict = f"{' and '.join(verdicts)}, intervals apart" if verdicts else "no third stands apart from the others"
    return f"{verdict}. The mean place is {said}, with 95 % intervals."


def language_model_story(result: LanguageModel) -> str:
    """What a language model makes of the reviews, where its layers turn and cost most, and what pruning costs."""
    shown = "" if result.accuracy_unpruned.low > result.commonest_label else "not "
    return (
        f"On {result.judged:,} reviews, {result.provenance.parameters['max_length']} tokens of each at the most, its "
        f"perplexity is {result.perplexity_unpruned:,.0f}; without having learned to, it names the sentiment of "
        f"{result.accuracy_unpruned:.1%}, {shown}shown to answer better than the commonest label, which gets "
        f"{result.commonest_label:.1%}. Ranked by Block Influence on {result.scored:,} others: "
        f"{thirds_story(result.thirds['block influence'])} Ranked by what each layer costs in perplexity when left out "
        f"alone: {thirds_story(result.thirds['left out alone'])} {pruning_story(result)}"
    )


def pruning_story(result: LanguageModel) -> str:
    """What the ways of pruning cost at each ratio, and which is the best of them."""
    sentences = []
    for ratio in dict.fromkeys(choice.ratio for choice in result.pruned):
        ways = {choice.way: choice for choice in result.pruned if choice.ratio == ratio}
        best = min(ways.values(), key=lambda choice: choice.perplexity.value)
        top = [way for way, choice in ways.items() if choice.layers == best.layers]
        apart = [way for way, choice in ways.items() if choice.perplexity.low > best.perplexity.high]
        above = [way for way, choice in ways.items() if choice.accuracy.low > result.commonest_label]
        times = best.perplexity.value / result.perplexity_unpruned.value
        times = f"{times:,.0f}" if times > 100 else f"{times:.2g}"
        sentences.append(
            f"At {ratio:g}x the model keeps {len(best.layers)} of {result.model.layers} layers; the lowest perplexity "
            f"is that of {_and(top)}, {times} times that of the whole model; higher with "
            f"intervals apart: {_and(apart)}. Shown to answer better than the commonest label: {_and(above)}."
        )
    unreached = [f"{ratio}x" for ratio, left in result.layers_left.items() if not left]
    if unreached:
        sentences.append(f"Leaving out layers alone does not reach {_and(unreached)}.")
    return " ".join(sentences)


def depth_need(truth: GroundTruth) -> str:
    """Whether the model needs its depth: what it loses with half of its layers, chosen blindly."""
    loss, best = truth.half_by_chance, truth.half_at_best
    verdicts = {
        True: "This model needs its depth",
        False: "This model hardly needs its depth",
        None: "Whether this model needs its depth is within the noise of these reviews",
    }
    return (
        f"{verdicts[truth.needs_depth]}: with half of its layers, chosen blindly, its accuracy changes by "
        f"{_signed(_minus(loss))} points on average, the 95 % interval in brackets; with the best half by "
        f"{_signed(_minus(best))}, on the reviews on which it is the best."
    )


def plans_story(plans: list[Plan]) -> str:
    """How each ratio is reached, and which is not."""
    said = _list([f"{plan.layers} at {plan.ratio:g}x" for plan in plans])
    sentences = [f"Of {plans[0].depth} layers {said} are left."]
    if trimmed := [plan.ratio for plan in plans if plan.trimmed]:
        sentences.append(
            f"Leaving out layers alone does not reach {_ratios(trimmed)}: there the vocabulary is trimmed too, which "
            "leaves room for more layers."
        )
    for plan in plans:
        if plan.reached < plan.ratio:
            sentences.append(f"{plan.ratio:g}x cannot be reached; the nearest is {plan.reached:.2f}x.")
    return " ".join(sentences)


def retention_story(result: Compression) -> str:
    """What the healed choice keeps of the accuracy at each ratio, and whether it is not inferior."""
    healed = {c.ratio: c for c in result.candidates if c.name == result.choice and c.healed}
    said = [
        f"{healed[plan.ratio].retention.value:.1%} at {plan.at} ({healed[plan.ratio].retention.low:.1%} to "
        f"{healed[plan.ratio].retention.high:.1%})"
        for plan in result.plans
    ]
    fine = [plan.at for plan in result.plans if healed[plan.ratio].p_value < SIGNIFICANT]
    return (
        f"Healed, the choice of {_and([result.choice])} keeps of the whole model's accuracy {_list(said)}, with 95 % "
        f"intervals. Shown to lose less than one point, p below {SIGNIFICANT}: {_and(fine)}."
    )


def choice_story(choice: str, contrasts: dict[str, dict[str, Interval]], measure: str = "accuracy") -> str:
    """Whether it matters which layers are kept, before healing and after, as far as the intervals tell."""
    ratios = [ratio for ratio, found in contrasts.items() if "choice_after" in found]
    if not ratios:
        return "No choice that looks at nothing was healed beside it, so there is nothing to compare with."
    helps, said = [], []
    for when in ("before", "after"):
        found = {ratio: contrasts[ratio][f"choice_{when}"] for ratio in ratios}
        better = [ratio for ratio in ratios if found[ratio].low > 0]
        worse = [ratio for ratio in ratios if found[ratio].high < 0]
        helps.append(_ratios(better) + (f" (and to harm at {_ratios(worse)})" if worse else ""))
        said.append(_list([f"{_signed(found[ratio])} at {float(ratio):g}x" for ratio in ratios]))
    before = {ratio: contrasts[ratio]["choice_before"] for ratio in ratios}
    same = [ratio for ratio in ratios if before[ratio].low == before[ratio].high]
    return (
        f"Before healing it is shown to help at {helps[0]}, after healing at {helps[1]}. The {measure} of "
        f"{_and([choice])} less that of the blind choices that were healed beside it, in points, with intervals that "
        f"do not hold the luck of those few: before {said[0]}; after {said[1]}."
        + (f" At {_ratios(same)} nothing tells them apart before healing." if same else "")
    )


def rivals_story(result: Compression) -> str:
    """Whether healing beats learning anew with as much computing, and whether it beats the linear classifier."""
    sentences = []
    for name, other in (("anew", "the same few layers that learn anew"), ("linear", "the linear classifier")):
        found = {ratio: contrasts[name] for ratio, contrasts in result.contrasts.items()}
        better = [ratio for ratio, interval in found.items() if interval.low > 0]
        worse = [ratio for ratio, interval in found.items() if interval.high < 0]
        said = _list([f"{_signed(interval)} at {float(ratio):g}x" for ratio, interval in found.items()])
        sentences.append(
            f"Healed less {other}, in points: {said}. Shown to be better at {_ratios(better)}, worse at "
            f"{_ratios(worse)}."
        )
    if result.guessing:
        said = _list([f"{c.accuracy.value:.1%} at {c.ratio:g}x" for c in result.guessing])
        sentences.append(f"The one that learned anew is not shown to have learned more than to guess: {said}.")
    return " ".join(sentences)


def contrasts_story(rows: list[dict]) -> str:
    """For how many smaller models the choice of layers, and having been large, are shown to be worth something.

    Args:
        rows: of `comparison.contrasts`.
    """

    def shown(name: str) -> str:
        found = [row[name] for row in rows if isinstance(row[name], Interval)]
        better, worse = sum(each.low > 0 for each in found), sum(each.high < 0 for each in found)
        return f"better in {better or 'none'} and worse in {worse or 'none'} of {len(found)}"

    if not rows:
        return "None of these studies measured it."
    guessing = [f"{row['ratio']} of {row['run']}" for row in rows if row["guessing"]]
    sentences = [
        f"Beside blind choices, the choice of layers is shown to be {shown('choice_before')} models as they are, and "
        f"healed {shown('choice_after')}.",
        f"Beside as few layers that learned anew a healed model is shown to be {shown('anew')}, and beside the linear "
        f"classifier {shown('linear')}.",
    ]
    if guessing:
        sentences.append(f"What learned anew is not shown to have learned more than to guess at {_list(guessing)}.")
    return " ".join(sentences)


def speed_story(result: Compression, ratio: float) -> str:
    """How much faster the smaller model is than the whole one, at both sizes of a batch, and how much it saves."""
    if not result.timings:
        return "This run exported no model, so nothing was timed."
    taken = {(t.ratio, t.runtime, t.batch): t.milliseconds for t in result.timings}
    said = [
        f"{taken[1, 'pytorch', size] / taken[ratio, 'pytorch', size]:.1f} times as fast in PyTorch and "
        f"{taken[1, 'onnx', size] / taken[ratio, 'onnx', size]:.1f} times in onnxruntime at a batch of {size}"
        for size in sorted({size for _, _, size in taken})
    ]
    whole, smaller = ({each.ratio: each for each in result.exported}[r] for r in (1, ratio))
    rounded = taken[1, "pytorch", 1] / taken[ratio, "onnx_int8", 1]
    return (
        f"At {ratio:g}x the model is {_list(said)}, each beside the whole model in the same runtime. A single review "
        f"takes the whole model in PyTorch {rounded:.1f} times as long as the smaller one in onnxruntime and 8 bits. "
        f"Compare that with what it saves: {whole.parameters / smaller.parameters:.1f} times fewer parameters, and "
        f"{whole.macs / smaller.macs:.1f} times fewer multiplications."
    )


def recommenders_story(result: Recommender) -> str:
    """Whether the Transformer beats each of the baselines, and by how much."""
    mine = result.metrics["transformer"].ndcg_10
    sentences = [f"NDCG@10 of the Transformer is {mine.value:.4f} (95 % interval {mine.low:.4f} to {mine.high:.4f})."]
    for name, difference in result.differences.items():
        other = result.metrics[name].ndcg_10.value
        interval = f"{difference.value:+.4f}, interval {difference.low:+.4f} to {difference.high:+.4f}"
        if difference.low > 0:
            sentences.append(f"It beats {_and([name])} ({other:.4f}) by {difference.value / other:.0%} ({interval}).")
        elif difference.high < 0:
            sentences.append(
                f"It loses to {_and([name])} ({other:.4f}) by {-difference.value / other:.0%} ({interval})."
            )
        else:
            sentences.append(f"It cannot be told apart from {_and([name])} ({other:.4f}; {interval}).")
    return " ".join(sentences)


def half_story(truth: Graded) -> str:
    """What a recommender loses with half of its layers, of what it has."""
    whole, loss, best = truth.sizes[max(truth.sizes)].best.value, truth.half_by_chance, truth.half_at_best
    return (
        f"Half of its layers, chosen blindly, lose {loss.value:.4f} of an NDCG@10 of {whole:.4f} on average (95 % "
        f"interval {loss.low:+.4f} to {loss.high:+.4f}); the best half loses {best.value:+.4f} ({best.low:+.4f} to "
        f"{best.high:+.4f}) on the users for whom it is the best."
    )


def smaller_story(result: Recommender) -> str:
    """What the choice keeps of the whole model's NDCG at each ratio, before healing and after it."""
    mine = {(c.ratio, c.healed): c.retention for c in result.candidates if c.name == result.choice}
    said = [
        _list(
            [
                f"{mine[plan.ratio, healed].value:.0%} at {plan.at} ({mine[plan.ratio, healed].low:.0%} to "
                f"{mine[plan.ratio, healed].high:.0%})"
                for plan in result.plans
            ]
        )
        for healed in (False, True)
    ]
    return (
        f"The choice of {_and([result.choice])} keeps of the whole model's NDCG@10, as it is, {said[0]}, with 95 % "
        f"intervals; healed, {said[1]}."
    )


def anew_story(result: Recommender) -> str:
    """Whether a small model that learned alone does as well as one that was large."""
    found = {ratio: contrasts["anew"] for ratio, contrasts in result.contrasts.items() if "anew" in contrasts}
    better = [ratio for ratio, interval in found.items() if interval.low > 0]
    worse = [ratio for ratio, interval in found.items() if interval.high < 0]
    said = _list([f"{_signed(interval)} at {float(ratio):g}x" for ratio, interval in found.items()])
    return (
        f"The NDCG@10 of the healed model less that of one that learned alone, in hundredths: {said}. Shown to be "
        f"better at {_ratios(better)}, worse at {_ratios(worse)}."
    )


def of_each(said: dict[str, str]) -> str:
    """A list in Markdown: of each study, subject or run what is said of it."""
    return "\n".join(f"- **{name}.** {words}" for name, words in said.items()) or "None of these studies measured it."


def _and(names: list) -> str:
    return _list([str(name).replace("_", " ") for name in names] or ["none"])


def _list(said: list[str]) -> str:
    *most, last = said
    return f"{', '.join(most)} and {last}" if most else last


def _ratios(ratios: list) -> str:
    return _and([f"{float(ratio):g}x" for ratio in ratios])


def _signed(found: Interval) -> str:
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _minus(found: Interval) -> Interval:
    return Interval(value=-found.value, low=-found.high, high=-found.low, n=found.n)


def _points(found: Interval) -> str:
    return f"{100 * found.value:.1f} (95 % interval {100 * found.low:.1f} to {100 * found.high:.1f})"


def _listed(layers: list[int]) -> str:
    names = f" ({', '.join(map(str, layers))})" if layers else ""
    return f"{len(layers) or 'no'} layer{'s' if len(layers) != 1 else ''}{names}"
