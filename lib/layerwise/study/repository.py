"""Where the project's repository is on GitHub."""

import os
import re
import subprocess
from pathlib import Path

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
