"""Texts without the passwords that may be in them; what is printed or stored of a database goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
"""What stands for a password."""
_SHORTEST = 4
"""A password of fewer letters is masked by its place in a text alone: as a word it may be anything"""
_USER = re.compile(r"//(?!user@)[^\s'\"`]*@")
"""but for the word that stands in our own examples"""
_PAIR = re.compile(
    r"(?i)([\w-]*(?:pass|pwd|secret|token|credential)[\w-]*\s*=\s*)"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s&'\"`;,]+?(?=:?(?:[\s&'\"`;,]|$)))"
)
_known: set[str] = set()


def remember(secrets: Iterable[str]) -> None:
    """From now on these words are masked wherever they turn up: drivers repeat what they were given."""
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            _known.update((secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]))


def safe(text: str) -> str:
    """``text`` without passwords: those known, those before an ``@`` in a URL and those after ``password=``."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _PAIR.sub(rf"\g<1>{MASK}", _USER.sub(f"//{MASK}@", text))
