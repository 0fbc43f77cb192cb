"""One plotly figure as a page of its own that needs no network."""

from __future__ import annotations

import json
from typing import Any

from stsearch.report.library import packed_library
from stsearch.report.templating import environment, policy, script_of


def figure_page(drawn: Any, title: str) -> str:
    """The whole page."""
    script = script_of("library.js", "figure.js")
    return (
        environment()
        .get_template("figure.html")
        .render(
            title=title,
            plots={"figure": json.loads(drawn.to_json(engine="json"))},
            library=packed_library(),
            script=script,
            policy=policy(f"\n{script}\n"),
        )
    )
