"""Finding studies and search spaces by name: beside the user, then those that ship."""

from __future__ import annotations

import os
from pathlib import Path

from stsearch.errors import UserError, WorldError, brief, did_you_mean, unknown

_PACKAGE = Path(__file__).resolve().parent


def _shipped(kind: str) -> Path:
    """``shipped/`` in an installed wheel, the top of the tree in a checkout."""
    inside = _PACKAGE / "shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def names(kind: str) -> list[str]:
    """Names of the ``studies`` or ``search_spaces`` that can be found."""
    folders = (Path(kind), _shipped(kind))
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def find(kind: str, name: str, beside: Path | None = None) -> Path:
    """The YAML file of a name or path; ``UserError`` lists what there is.

    A name is looked for in ``./<kind>/``, then among those that ship; a path (it ends in
    ``.yaml`` or ``.yml``) from here, then from ``beside``.
    """
    if name.endswith((".yaml", ".yml")):
        for path in (Path(name), *([beside / name] if beside else [])):
            if os.path.isfile(path):  # unlike the path's own method, no error for a name that can be none
                return path
        raise UserError(f"no such file: {brief(name)}.{did_you_mean(name, _yaml_beside(Path(name)))}".removesuffix("."))
    for folder in (Path(kind), _shipped(kind)):
        if os.path.isfile(path := folder / f"{name}.yaml"):
            return path
    what = {"studies": "study", "search_spaces": "search space"}[kind]
    for beside_here in (f"{name}.yaml", f"{name}.yml"):
        if os.path.isfile(beside_here):
            raise UserError(f"no {what} {brief(name)}, but a file {beside_here} is here: give it with its ending")
    if os.path.isdir(name):
        wanted = {"studies": "a study is a YAML file that names a folder of clips in data.path"}
        raise UserError(f"{brief(name)} is a folder; {wanted.get(kind, f'a {what} is a YAML file')}")
    raise UserError(f"{unknown(what, name, names(kind))} A path to a .yaml file is allowed too.")


def _yaml_beside(path: Path) -> list[str]:
    """YAML files in the folder of ``path``; none where it is no folder that can be listed."""
    try:
        return [str(other) for end in ("yaml", "yml") for other in path.parent.glob(f"*.{end}")]
    except (OSError, ValueError):
        return []


def found_study(text: str) -> str | None:
    """What ``stsearch run`` takes for the study that others know as ``text``; ``None`` where no file is found."""
    for name in (text, f"{text}.yaml"):
        try:
            find("studies", name)
        except UserError:
            continue
        return name
    return None


def expanded(text: str, otherwise: str) -> Path:
    """The path ``text`` with ``~`` filled in; ``WorldError`` that says what to do ``otherwise`` where no home is known.

    As in containers and batch systems: ``HOME`` is not set, and the user is not in the list of users.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise WorldError(
            f"no home folder is known for {text!r} (HOME is not set, and the system has no entry for it); {otherwise}"
        ) from None
