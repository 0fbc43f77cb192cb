"""The text of a study's YAML with some values changed, its comments kept where that can be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from stsearch.search.overrides import apply_overrides
from stsearch.yamls import Loader, load


def rewritten(text: str, changes: Sequence[str]) -> tuple[str, bool]:
    """The YAML ``text`` with ``changes`` (``key=value``), and whether its comments survived.

    Each value is put where the old one stands, or beside its neighbours. What comes out is read again: where it is not
    what it should be (anchors, several lines), the whole is written anew, without comments.
    """
    wanted = load(text)
    for change in changes:
        apply_overrides(wanted, [change])
    found = text
    for change in changes:
        path = change.partition("=")[0].strip().split(".")
        found = _edited(found, path, _at(wanted, path))
    try:
        if load(found) == wanted:
            return found, True
    except ValueError:
        pass
    return yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True), False


def _at(data: Any, path: Sequence[str]) -> Any:
    for key in path:
        data = data[key]
    return data


def _flow(value: Any) -> str:
    """``value`` in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True).removesuffix("\n")
    return text.removesuffix("...").rstrip("\n")


def _edited(text: str, path: Sequence[str], value: Any) -> str:
    """``text`` with one value changed; as it is where that cannot be done in place."""
    node: Node | None = Loader(text).get_single_node()
    for depth, key in enumerate(path):
        if not isinstance(node, MappingNode):
            return text
        inner = next((v for k, v in node.value if isinstance(k, ScalarNode) and k.value == key), None)
        if inner is None:
            rest: Any = value
            for deeper in reversed(path[depth + 1 :]):
                rest = {deeper: rest}
            return _added(text, node, key, _flow(rest))
        node = inner
    if node is None or node.start_mark.line != node.end_mark.line:
        return text
    return text[: node.start_mark.index] + _flow(value) + text[node.end_mark.index :]


def _added(text: str, mapping: MappingNode, key: str, value: str) -> str:
    """``text`` with a key more in ``mapping``."""
    begin, end = mapping.start_mark.index, mapping.end_mark.index
    if mapping.flow_style:
        if not mapping.value:
            return f"{text[: begin + 1]}{key}: {value}{text[begin + 1 :]}"
        last = mapping.value[-1][1].end_mark.index
        return f"{text[:last]}, {key}: {value}{text[last:]}"
    if mapping.start_mark.column == 0:
        rest = text[end:]  # such as the end of a document
        return f"{text[:end].rstrip()}\n{key}: {value}\n{rest if rest.strip() else ''}"
    return f"{text[:begin]}{key}: {value}\n{' ' * mapping.start_mark.column}{text[begin:]}"
