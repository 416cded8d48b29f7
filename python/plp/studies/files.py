"""A study's file and the checkpoints beside it: how it goes on, and what becomes of those that are of no use."""

from __future__ import annotations

import os
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from .._files import Place
from ..options import Recipe
from .records import Settings, Study


def opened(path: Place | None, settings: Settings, methods: dict[str, Recipe]) -> Study:
    """The study at ``path``, with these methods beside its own; a new one where there is none, or nothing in it."""
    if path is not None and Path(path).exists():
        study = Study.load(path)
        _forget_foreign_checkpoints(study, Path(path))
        if study.runs or any((Path(path).parent / name).exists() for name in study.checkpoints.values()):
            _check_same(study, settings, methods, path)
            study.methods = {**study.methods, **methods}
            return study
    return Study(settings, methods)


def _check_same(study: Study, settings: Settings, methods: dict[str, Recipe], path: Place) -> None:
    """Runs are only comparable where all but the machine is the same."""
    for difference in _differences("", study.settings, settings):
        raise ValueError(f"{os.fspath(path)} holds a study whose {difference}: choose another file, or start fresh")
    for name in study.methods.keys() & methods.keys():
        for difference in _differences("", study.methods[name], methods[name]):
            raise ValueError(
                f"{os.fspath(path)} holds another method of the name {name!r}, whose {difference}: choose another name"
            )


def _differences(name: str, found: Any, expected: Any) -> Iterator[str]:
    """Which fields of two records differ, by their names, those of options within options too."""
    if is_dataclass(found) and type(found) is type(expected):
        for part in fields(found):
            inner = f"{name}.{part.name}" if name else part.name
            yield from _differences(inner, getattr(found, part.name), getattr(expected, part.name))
    elif found != expected:
        yield f"{name} is {found}, expected {expected}"


def _own_names(path: Path) -> re.Pattern[str]:
    """The names of a study's checkpoints, complete and partial; none that a study of a longer name gives."""
    return re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{8}}\.checkpoint(?P<partial>\.[0-9a-f]{{16}}\.partial)?")


def _forget_foreign_checkpoints(study: Study, path: Path) -> None:
    """Whatever a file says, none but what :func:`checkpoint_of` names is read, replaced or removed."""
    for name, checkpoint in list(study.checkpoints.items()):
        own = _own_names(path).fullmatch(checkpoint)
        if not own or own["partial"]:
            del study.checkpoints[name]
            warnings.warn(
                f"{path} names {checkpoint!r:.80} as the checkpoint of {name!r:.80}, which it cannot have written: "
                "that run starts anew",
                RuntimeWarning,
                stacklevel=4,
            )


def checkpoint_of(study: Study, name: str, path: Path) -> Path:
    """The checkpoint of a run that begins or goes on; named anew for each run, so that none passes for another's."""
    if name not in study.checkpoints:
        study.checkpoints[name] = f"{path.name}.{secrets.token_hex(4)}.checkpoint"
        study.save(path)
    return path.parent / study.checkpoints[name]


def finish(study: Study, name: str, path: Path) -> None:
    """Writes the study with a run that is complete, and only then removes the run's checkpoint."""
    checkpoint = path.parent / study.checkpoints.pop(name)
    study.save(path)
    checkpoint.unlink(missing_ok=True)


def remove_strays(study: Study, path: Path) -> None:
    """Removes checkpoints that no study names: their study was removed, or the process ended before they were.

    Likewise those that a killed process did not finish writing: who calls this holds the study's lock.
    """
    named = set(study.checkpoints.values())
    for file in list(path.parent.iterdir()):
        stray = _own_names(path).fullmatch(file.name)
        if stray and (stray["partial"] or file.name not in named):
            file.unlink(missing_ok=True)


def set_aside(checkpoint: Path, error: Exception) -> None:
    """Keeps a checkpoint of no use to this study, which may have cost many hours, under a name that nothing removes."""
    aside = checkpoint.with_name(f"{checkpoint.name}.{secrets.token_hex(4)}.unused")
    checkpoint.rename(aside)
    warnings.warn(f"the run starts anew, its checkpoint is now {aside}: {error}", RuntimeWarning, stacklevel=2)
