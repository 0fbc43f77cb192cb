"""Names that stand for things: kinds, data sets, evaluators, samplers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from stsearch.errors import UserError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """A table from name to thing that answers a wrong name with the right ones."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        """Register ``item``; a name is given once (``ValueError`` otherwise)."""
        if name in self._items:
            raise ValueError(f"{self.what} {name!r} is registered already")
        self._items[name] = item

    def register(self, name: str) -> Callable[[T], T]:
        """``add`` as a decorator."""

        def decorate(item: T) -> T:
            self.add(name, item)
            return item

        return decorate

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            raise UserError(unknown(self.what, name, self.names())) from None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def names(self) -> list[str]:
        """The registered names in the order of registration."""
        return list(self._items)
