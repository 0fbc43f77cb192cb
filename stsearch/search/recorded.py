"""What a study has trained, as a table that can be searched again."""

from __future__ import annotations

from stsearch.evaluate.replay import Recorded, Table
from stsearch.search.attributes import ARCHITECTURE, RECORD, REFERENCE
from stsearch.search.reading import StoredStudy
from stsearch.search.state import State


def table_of(stored: StoredStudy) -> Table:
    """Every training of the study so far, references outside its space included."""
    rows = stored.complete
    names = [found[ARCHITECTURE] for found in stored.attributes([ARCHITECTURE], rows)]
    found = list(zip(names, stored.details(rows), strict=True))
    found += [
        (value[ARCHITECTURE], value[RECORD])
        for key, value in stored.user_attributes.items()
        if key.startswith(REFERENCE) and value.get("state") == State.COMPLETE
    ]
    trainings = {
        name: tuple(Recorded.of(*pair) for pair in zip(record["seeds"], record["trainings"], strict=True))
        for name, record in found
    }
    provenance = {str(record["provenance"]): record["provenance"] for _, record in found}
    return Table({"identity": stored.identity, "provenance": list(provenance.values())}, trainings)
