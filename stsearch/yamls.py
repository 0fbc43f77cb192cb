"""YAML that others wrote: what ``SafeLoader`` reads, within limits, and never an exception but one line's."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from stsearch.errors import SHOWN, brief

MOST_VALUES = 50_000
"""of one file, each counted as often as an alias repeats it"""
DEEPEST = 50
_LONGEST_NUMBER = 40
"""characters of an integer: enough to be told that it is too large"""
_MERGE = "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"


class _Fault(yaml.MarkedYAMLError):
    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(None, None, problem, mark)


class Loader(yaml.SafeLoader):
    """``SafeLoader`` that refuses a key given twice, instead of dropping the first, and what has no end."""

    NON_PRINTABLE = re.compile(  # type: ignore[misc]
        "[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\udc80-\udcff\ue000-\ufffd\U00010000-\U0010ffff]"
    )
    """bytes of names that are no UTF-8 come from the command line as U+DC80 to U+DCFF"""

    def __init__(self, text: str) -> None:
        self._text = text
        self.commented = False
        """whether a comment was passed over"""
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}
        """values in each node that is whole, which an alias repeats"""
        super().__init__(text)

    def scan_to_next_token(self) -> None:
        before = self.index
        super().scan_to_next_token()
        self.commented = self.commented or "#" in self._text[before : self.index]

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        alias = self.check_event(yaml.AliasEvent)
        before = self._values
        self._depth += 1
        self._values += 1
        self._within_limits(event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias:
            if id(node) not in self._sizes:
                raise _Fault("an alias stands inside of what it repeats", event.start_mark)
            self._values += self._sizes[id(node)]
            self._within_limits(event.start_mark)
        elif node is not None:
            self._sizes[id(node)] = self._values - before
        return node

    def _within_limits(self, mark: Any) -> None:
        if self._depth > DEEPEST:
            raise _Fault(f"it nests deeper than {DEEPEST} levels", mark)
        if self._values > MOST_VALUES:
            raise _Fault(
                f"it holds more than {MOST_VALUES:,} values, each counted as often as an alias repeats it", mark
            )

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            # a date that is none; a tag on what is none of its kind, as in !!bool 112
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            why = f": {_line(error)}" if type(error) is ValueError else ""
            raise _Fault(f"{brief(node.value)} is no {tag}{why}", node.start_mark) from None

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        seen: set[Any] = set()
        for key_node, _ in node.value:  # now: merging changes what is in a node
            if not isinstance(key_node, ScalarNode):
                continue
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node)
            if key in seen:
                hint = "; several mappings are merged by <<: [*one, *other]" if key_node.tag == _MERGE else ""
                raise _Fault(f"the key {brief(key)} is given twice{hint}", key_node.start_mark)
            seen.add(key)
        return node


def _mapping(loader: Loader, node: MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


def _integer(loader: Loader, node: ScalarNode) -> int:
    if len(node.value) > _LONGEST_NUMBER:
        raise _Fault(f"an integer of {len(node.value):,} characters is too large", node.start_mark)
    return int(loader.construct_yaml_int(node))


def _word(loader: Loader, node: ScalarNode) -> str:
    word = str(loader.construct_yaml_str(node))
    for character in word:
        if character == "\0" or "\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff":
            raise _Fault(f"{brief(character)} is no character of a text", node.start_mark)
    return word


# YAML 1.1 takes 1e-4 for a word, 1.2 and everybody else for a number
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))
Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, _word)
Loader.add_constructor(_INT, _integer)


def load(text: str) -> Any:
    """Any one value; ``ValueError`` of one line for all that is none."""
    return _constructed(text)[0]


def load_word(text: str) -> Any:
    """Like ``load``, for a value from a command line, where nobody writes comments or anchors.

    A plain word that YAML would cut short, as ``my clips #2``, is taken as it stands; ``ValueError`` where a
    comment cuts anything else.
    """
    value, root, commented = _constructed(text)
    whole = text.strip()
    if root is None:
        return whole or None
    if isinstance(root, ScalarNode) and root.style is None and not whole.startswith(("!", "&")):
        return value if root.value == whole else whole
    if commented or whole.startswith("&"):
        raise ValueError("YAML would drop a part of it: ' #' begins a comment and & an anchor")
    return value


def _constructed(text: str) -> tuple[Any, Node | None, bool]:
    try:
        loader = Loader(text)
        try:
            root = loader.get_single_node()
            value = None if root is None else loader.construct_document(root)
            return value, root, loader.commented
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{_line(error.problem)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: the character {brief(chr(error.character))} is not allowed") from None
    except yaml.YAMLError as error:
        raise ValueError(_line(error)) from None
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise ValueError(_line(error)) from None


def _line(text: object) -> str:
    return " ".join(str(text).split())[: 2 * SHOWN]
