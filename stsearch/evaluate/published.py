"""Weights to evaluate: those that ``stsearch train`` wrote, or a checkpoint that others published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from stsearch.errors import UserError, brief
from stsearch.evaluate.weights import About, Weights, is_ours, of_network, read_content, weights_in
from stsearch.nets.foreign import published_in
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.published import name_of


def weights_for(
    path: Path, network: AnyNetwork, classes: Callable[[], tuple[str, ...]], clip: Callable[[], ClipShape]
) -> Weights:
    """The weights of ``network`` in ``path``.

    A published checkpoint says neither its classes nor its clip: they are ``classes``, in that order, and ``clip``; its
    pixels are normalised as its library does. Raises ``UserError`` for weights of another network, and where it has
    more or fewer classes.
    """
    content, name = read_content(path), name_of(network)
    if is_ours(content):
        return of_network(weights_in(content, path), path, network, name)
    found = published_in(content, network, clip(), path)
    if found.classes != len(classes()):
        raise UserError(
            f"{brief(str(path))} has {found.classes} classes, the data have {len(classes())}: train a classifier "
            "first, by `stsearch train NETWORK --weights` with this file"
        )
    shape = clip()
    about = About(
        network=name,
        architecture=network.id,
        classes=classes(),
        mean=found.naming.mean,
        std=found.naming.std,
        frames=shape.frames,
        size=shape.height,
        begun_from=f"{path.name} ({name}, published by {found.naming.library})",
    )
    return Weights(about, found.state)
