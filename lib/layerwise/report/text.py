"""The foot of a page, and a report in Markdown."""

import pandas as pd

from layerwise.study.schemas import PrecisionCheck, Provenance


def describe_run(provenance: Provenance, data: str, model: str | None = None) -> str:
    """One line for the foot of a page: profile, model, data, seed, commit, device, date."""
    parameters = provenance.parameters
    models = [model] if model else parameters.get("models") or [parameters.get("base_model") or parameters["llm"]]
    seeds = parameters.get("seeds") or [parameters["seed"]]
    return (
        f"profile {parameters['profile']}, model {', '.join(models)}, seed {', '.join(map(str, seeds))}, {data}, "
        f"commit {provenance.commit}, {provenance.device}, threads: {provenance.threads}, {provenance.finished[:10]}"
    )


def describe_precision(check: PrecisionCheck | None) -> str:
    """The precision of the table of sub-networks, and what a lower one changed."""
    if check is None:
        return "float32"
    return (
        f"{check.precision}: of {check.subnetworks} sub-networks evaluated in float32 as well, "
        f"{check.differing:.2%} of the predictions differ; accuracy differs by {100 * check.mean_difference:.2f} "
        f"points on average, and by {100 * check.largest_difference:.2f} at most"
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
