"""What stands around a page: links to launch it and to see its source at the head, the run behind it at the foot.

The theme has such links too, but takes each page for a file of the repository. A chapter is none: a run makes
book/stages/X.ipynb from notebooks/X.ipynb. So the links are built here and join the theme's own buttons.
"""

import hashlib
import json
import os
import re
import subprocess
from html import escape
from pathlib import Path
from urllib.parse import quote

import nbformat
from sphinx.errors import ConfigError

CHAPTERS = "book/stages/"
GITHUB = "https://github.com"


def git(folder: Path, *words: str) -> str:
    """What git answers; nothing where there is no git or no repository."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def repository(folder: Path) -> str:
    """The address on GitHub, or nothing: never the name or token that a remote may carry."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', GITHUB)}/{name}"
    remote = git(folder, "remote", "get-url", "origin")
    found = re.fullmatch(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([^/]+/[^/]+?)(?:\.git)?/?", remote)
    return f"{GITHUB}/{found[1]}" if found else ""


def foot(results: Path) -> str:
    """The run that the book quotes, in HTML: nothing of the build itself, so that building again changes no page."""
    try:
        made = json.loads(results.read_text())["provenance"]
        said = f"{made['parameters']['profile']}, commit {made['commit']}, {made['device']}, {made['finished'][:10]}"
    except OSError as error:
        raise ConfigError(f"ERROR: cannot read {results}, which LAYERWISE_BUILT names: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"ERROR: {results}, which LAYERWISE_BUILT names, holds no results of a run") from error
    return f"<p>Built with profile {escape(said)}</p>"


def readable(source: Path) -> str:
    """A page's source as text; a notebook, which a browser would not show, as its cells without outputs."""
    if source.suffix != ".ipynb":
        return source.read_text()
    cells = nbformat.read(source, as_version=4).cells
    return "\n\n".join(f"```{{code-cell}}\n{c.source}\n```" if c.cell_type == "code" else c.source for c in cells)


def configure(app, config):
    """Make what all pages show configuration: when it changes Sphinx writes all of them anew, and none otherwise."""
    looks = sorted(file for folder in config.html_static_path for file in Path(app.srcdir, folder).rglob("*.*"))
    config.page_looks = hashlib.sha256(b"".join(file.read_bytes() for file in [Path(__file__), *looks])).hexdigest()
    address = repository(app.srcdir)
    config.page_repository = [address, address and git(app.srcdir, "rev-parse", "HEAD")]
    if results := os.environ.get("LAYERWISE_BUILT"):
        config.html_theme_options["extra_footer"] = foot(Path(app.srcdir, results))


def add_links(app, pagename, templatename, context, doctree):
    """Add the buttons. Those to GitHub and to Binder need an address on GitHub; the others work everywhere."""
    if doctree is None:  # the search and the index
        return
    source, chapter = Path(app.env.doc2path(pagename)), pagename.startswith(CHAPTERS)
    file = f"notebooks/{source.name}" if chapter else f"{pagename}{source.suffix}"
    opens = file if chapter else "notebooks"
    text = Path(app.outdir, "_sources", f"{pagename}.txt")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(readable(source), encoding="utf-8-sig")  # marked as UTF-8: not every server says so

    pathto, (address, commit) = context["pathto"], app.config.page_repository
    launch = [("make lab", pathto("book/rerun"), "fas fa-terminal", f"On your machine: make lab opens {opens}")]
    view = [("View source", pathto(f"_sources/{pagename}.txt", 1), "fas fa-code", "View the source of this page")]
    if commit:
        blob = f"{address}/blob/{commit}/{quote(file)}"
        view.append(("On GitHub", blob, "fab fa-github", "View the source on GitHub"))
    if commit and address.startswith(f"{GITHUB}/"):
        binder = f"https://mybinder.org/v2/gh{address.removeprefix(GITHUB)}/{commit}?labpath={quote(opens)}"
        launch.insert(0, ("Binder", binder, "_static/images/logo_binder.svg", f"Launch {opens} on Binder"))
    context["header_buttons"][:0] = [
        group("launch", "Launch this page", "fas fa-rocket", launch),
        group("source", "Source of this page", "fas fa-code", view),
    ]


def group(name: str, tooltip: str, icon: str, links: list[tuple]) -> dict:
    """A button of the theme that unfolds into links."""
    buttons = [{"type": "link", **dict(zip(("text", "url", "icon", "tooltip"), link, strict=True))} for link in links]
    return {"type": "group", "label": f"{name}-buttons", "tooltip": tooltip, "icon": icon, "buttons": buttons}


def setup(app):
    app.add_config_value("page_looks", "", "html")
    app.add_config_value("page_repository", [], "html")
    app.connect("config-inited", configure)
    app.connect("html-page-context", add_links, priority=502)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
