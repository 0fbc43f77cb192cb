"""What MkDocs calls when it builds the site: generated pages, and a navigation that leaves no page out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # as `mkdocs` is started by its own script

from mkdocs.config.defaults import MkDocsConfig  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402

from docs.tools.reference import pages  # noqa: E402

DOCS = ROOT / "docs"
_FOLDERS = {"Decisions": "decisions", "Results": "results"}
"""Parts of the navigation that list the pages of a folder."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page into the navigation: of folders all, and what nobody placed at the end of the guides."""
    nav = config.nav
    assert isinstance(nav, list)
    config.nav = [_filled(part) for part in nav]
    placed = set(re.findall(r"[\w./-]+\.md", repr(config.nav)))
    left = [path.name for path in sorted(DOCS.glob("*.md")) if path.name not in placed]
    for part in config.nav:
        if "Guides" in part:
            part["Guides"] += left
    return config


def _filled(part: Any) -> Any:
    """A part of the navigation with the pages of its folder, if it has one."""
    if isinstance(part, list):
        return [_filled(one) for one in part]
    if not isinstance(part, dict):
        return part
    ((title, inside),) = part.items()
    if title not in _FOLDERS:
        return {title: _filled(inside)}
    folder = DOCS / _FOLDERS[title]
    listed = sorted(folder.glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
    return {title: [str(path.relative_to(DOCS)) for path in listed]}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
