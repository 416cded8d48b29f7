"""A study's folder: what lies in it, how it goes on, and how several become one.

::

    study.json              settings and methods
    stop                    for a while, where somebody asked the runs to end: see :func:`plp.stop`
    resnet18-sgd-seed-0/    a run: see :mod:`plp.studies.runs`
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from .. import _plp
from .._files import Place, make_folder, sole_writer
from .._plain import differences
from ..options import Recipe
from .leases import LOCK, STOP
from .metrics import PROGRESS
from .records import RUN_FILE, STUDY_FILE, Run, Settings, Study, folder_name
from .runs import forget, is_begun, made_run


def folder_of(path: Place) -> Path:
    """The folder that a study is to lie in, made if need be.

    Raises:
        ValueError: it is named as a file of an earlier version.
        FileNotFoundError, OSError: it cannot be made.
    """
    if not os.fspath(path):
        raise ValueError("path is '', expected a folder")
    folder = Path(os.path.realpath(path))
    if (folder / RUN_FILE).exists():
        raise ValueError(f"path is {os.fspath(path)}, which holds a run, expected a folder for a study")
    if folder.suffix == ".json" and not folder.is_dir():
        raise ValueError(
            f"path is {os.fspath(path)}, expected a folder, in which the study is study.json and each run a folder; "
            "plp.Study.load reads the files of earlier versions"
        )
    make_folder(folder)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return folder


def opened(
    folder: Path | None, settings: Settings, methods: dict[str, Recipe], planned: list[str], fresh: bool
) -> Study:
    """The study in a folder, with these methods beside its own, and noted there; a new one where there is none."""
    study = Study(settings, methods)
    if folder and fresh:
        _forget_all(folder, planned)
    elif folder and (folder / STUDY_FILE).exists():
        found = Study.load(folder)
        if found.runs or any(is_begun(folder / folder_name(name)) for name in found.planned):
            _check_same(found, settings, methods, folder, "choose another folder, or start fresh")
            study = replace(found, settings=settings, methods=found.methods | methods)
    study.planned = list(dict.fromkeys(study.planned + planned))
    if folder:
        _note(study, folder)
    return study


def _note(study: Study, folder: Path) -> None:
    """Writes what is the study's own: settings, methods, and runs of earlier versions, which have no folder."""
    replace(study, runs=[run for run in study.runs if not run.folder]).save(folder / STUDY_FILE)


def _check_same(study: Study, settings: Settings, methods: dict[str, Recipe], path: Place, advice: str) -> None:
    """Runs are only comparable where all but the machine is the same."""
    theirs = study.settings
    if not (theirs.train_checksum and settings.train_checksum):  # which a file of an earlier version does not tell
        theirs = replace(theirs, train_checksum=settings.train_checksum, test_checksum=settings.test_checksum)
    for difference in differences("", theirs, settings):
        raise ValueError(f"{os.fspath(path)} holds a study whose {difference}: {advice}")
    for name in study.methods.keys() & methods.keys():
        for difference in differences("", study.methods[name], methods[name]):
            raise ValueError(
                f"{os.fspath(path)} holds another method of the name {name!r}, whose {difference}: choose another name"
            )


def _forget_all(folder: Path, planned: list[str]) -> None:
    """Removes the runs of a study that is to start anew, as far as plp wrote them."""
    with suppress(FileNotFoundError, _plp.Error):  # of a study that nobody can read any more
        planned = [*planned, *Study.load(folder).planned]
    for name in dict.fromkeys(planned):
        forget(folder / folder_name(name))


def merge(paths: Sequence[Place], path: Place | None = None) -> Study:
    """One study of several that were made in pieces, on several machines perhaps: all their complete runs.

    Args:
        paths: folders of studies with the same settings, and files of :meth:`Study.save`.
        path: a folder for it, to which their runs are copied; with it a study that lies there already goes on. None for
            none.

    Raises:
        ValueError: they differ in more than their runs, or have one and the same run with another outcome.
        FileNotFoundError, OSError, plp.Error: see :meth:`Study.load`.
    """
    if isinstance(paths, str | os.PathLike):
        raise ValueError(f"paths is {os.fspath(paths)!r}, expected a list of folders")
    pieces = [(Path(place), Study.load(place)) for place in paths]  # a mistake is reported before there is a folder
    if not pieces:
        raise ValueError("paths is empty, expected folders of studies")
    folder = None if path is None else folder_of(path)
    with sole_writer(folder and folder / STUDY_FILE):
        if folder and (folder / STUDY_FILE).exists():
            pieces.insert(0, (folder, Study.load(folder)))
        first, merged = pieces[0]
        runs = {run.name: (run, first) for run in merged.runs}
        for place, study in pieces[1:]:
            _check_same(study, merged.settings, merged.methods, place, f"it cannot be merged with {first}")
            if not merged.settings.train_checksum:
                merged.settings = study.settings
            merged.methods |= study.methods
            merged.planned = list(dict.fromkeys(merged.planned + study.planned))
            for run in study.runs:
                known, origin = runs.setdefault(run.name, (run, place))
                if not known.measured_as(run):
                    raise ValueError(f"{run.name} has another outcome in {place} than in {origin}")
        merged.runs = [_copied(run, folder) if folder else run for run, _ in runs.values()]
        merged.sort()
        if folder:
            _note(merged, folder)
    return merged


def _copied(run: Run, folder: Path) -> Run:
    """A run in a study's folder, its own folder copied there whole or not at all, in place of one that was interrupted
    there; a run that has none stays as it is.
    """
    if run.folder is None or run.folder.parent == folder:
        return run
    target = folder / run.folder.name
    if made_run(target) is None:
        partial = folder / f".{target.name[:200]}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a merge that was killed: nobody else writes here
        try:
            shutil.copytree(run.folder, partial, ignore=shutil.ignore_patterns(LOCK, PROGRESS, STOP))
            forget(target)
            partial.rename(target)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, shutil.Error):  # a list, of each file that cannot be copied
                _, copy, reason = error.args[0][0]
                raise OSError(f"{copy}: {reason}") from None
            raise
    return replace(run, folder=target)
