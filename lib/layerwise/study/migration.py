"""Names that results had before they were renamed: recorded files are read as they are, and never edited."""

from typing import Any

STAGE_NAMES = {
    "1_training": "training",
    "2_core_importance": "core_importance",
    "3_advanced_importance": "advanced_importance",
    "4_llama": "language_model",
    "4_llm_and_fusion": "fusion",
    "5_ground_truth": "ground_truth",
    "6_compression": "compression",
    "7_recommender": "recommender",
    "8_comparison": "comparison",
}
# A dictionary of parameters, which is recognised by its profile, had other names than a result.
_PARAMETERS = {
    "subjects": "models",
    "warm_up": "pretraining_texts",
    "warm_up_epochs": "pretraining_epochs",
    "expert_anew": "refresh_expert",
}
_KEYS = {
    "warm_up": "pretraining",
    "half_by_chance": "random_half_loss",
    "half_at_best": "in_sample_half_loss",  # of the best half on the reviews that selected it: nothing reads it
    "behind": "behind_best",
    "way": "method",
    "judged": "evaluated",
    "commonest_label": "majority_accuracy",
    "anew": "from_scratch",
}
_KEYS_OF_EXPORTED = {"judged": "metrics"}
_NAMES = {"learned_anew": "trained_from_scratch", **STAGE_NAMES}  # values of the keys `name` and `stage`


def upgrade(result: Any) -> Any:
    """A result, or a part of it, as JSON with the names of today."""
    if isinstance(result, list):
        return [upgrade(part) for part in result]
    if not isinstance(result, dict):
        return result
    keys = _PARAMETERS if "profile" in result else _KEYS_OF_EXPORTED if "macs" in result else _KEYS
    upgraded = {keys.get(key, key): upgrade(value) for key, value in result.items()}
    for key in {"name", "stage"} & upgraded.keys():
        if isinstance(upgraded[key], str):
            upgraded[key] = _NAMES.get(upgraded[key], upgraded[key])
    return upgraded
