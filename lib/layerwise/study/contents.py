"""The contents of a profile's book, which say what stages are run for it."""

from pathlib import PurePosixPath

import yaml

from layerwise.errors import InputError
from layerwise.study.config import project_path
from layerwise.study.stages import STAGES, Stage


def load_contents(profile: str) -> tuple[str, list[Stage]]:
    """The file of a book's table of contents, and the stages that are chapters of it: no other stage is run for it.

    The file is `book/<profile>_toc.yml` where a profile has a shorter book of its own, and `_toc.yml` otherwise.

    Raises:
        InputError: it cannot be read, lists a page that does not exist, or lists no stage that computes.
    """
    own = f"book/{profile}_toc.yml"
    file = own if project_path(own).is_file() else "_toc.yml"
    try:
        pages = [PurePosixPath(page) for page in _pages(yaml.safe_load(project_path(file).read_text()))]
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {' '.join(str(error).split())}") from None
    chapters = [page.name for page in pages if page.parent == PurePosixPath("book/stages")]
    for page in pages:
        if page.name not in chapters and not project_path(f"{page}.md").is_file():
            raise InputError(f"{file} lists {page}, and there is no {page}.md")
    if unknown := set(chapters) - STAGES.keys():
        raise InputError(f"{file} lists the stage {min(unknown)!r}; choose from: {', '.join(STAGES)}")
    stages = [stage for stage in STAGES.values() if stage.name in chapters]
    if not any(stage.computes for stage in stages):
        raise InputError(f"{file} lists no stage that computes; choose from: {', '.join(STAGES)}")
    return file, stages


def _pages(entry: object) -> list[str]:
    """The pages of a part of a table of contents, at any depth."""
    if isinstance(entry, dict):
        own = [entry[name] for name in ("root", "file") if name in entry]
        return own + [page for value in entry.values() for page in _pages(value)]
    return [page for each in entry for page in _pages(each)] if isinstance(entry, list) else []
