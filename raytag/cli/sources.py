"""What a user may name where a study is wanted, or something in it: by its name or folder, or as a run in MLflow."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from raytag.cli.arguments import study_path
from raytag.errors import StudyError

if TYPE_CHECKING:
    from raytag.search.folder import StudyFolder
    from raytag.transfer.source import Source

__all__ = [
    "BEST",
    "add_source",
    "add_tracking_uri",
    "add_whole_study",
    "find_source",
    "find_source_beside",
    "source_of",
    "trial_of",
    "whole_study_of",
]

BEST = "best"  # of raytag.trained.choice, which takes a second to import


def add_tracking_uri(parser: argparse.ArgumentParser) -> None:
    """Add MLflow's place to a command that takes the id of a run, as ``tracking_uri``."""
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow's place, to look up the id of a run (default: $MLFLOW_TRACKING_URI, or sqlite:///mlflow.db)",
    )


def find_source(named: str, tracking_uri: str | None) -> Source:
    """Return what a study's name or folder, STUDY:TRIAL, a wide run's folder or the id of a run in MLflow means.

    Raises
    ------
    RaytagError
        There is no such study or run.
    """
    from raytag.search.folder import StudyFolder
    from raytag.transfer.source import Source, source_in

    if Path(named).is_dir():
        return source_in(study_path(named))
    if re.fullmatch("[0-9a-f]{32}", named):
        from raytag.logbook import default_tracking_uri
        from raytag.transfer.lookup import source_of_run

        return source_of_run(named, tracking_uri or default_tracking_uri())
    place, colon, trial = named.rpartition(":")
    if colon:
        if not place or not trial:
            raise StudyError(f"{named}: expected STUDY:TRIAL, as in gn2_width:w32-0007.")
        return Source(StudyFolder(study_path(place)), trial)
    return source_in(study_path(named))


def find_source_beside(study: StudyFolder, named: str, tracking_uri: str | None) -> Source:
    """Return what :func:`find_source` does; the name of a trial or training alone means one of this study.

    Raises
    ------
    RaytagError
        There is no such study or run.
    """
    from raytag.transfer.source import Source

    if named == BEST or re.fullmatch(r"w\d+-\d{4,}(-\w+)?", named):
        return Source(study, named)
    return find_source(named, tracking_uri)


def trial_of(source: Source, named: str, option: str, trial: str | None) -> str | None:
    """Return the trial that the source or an option names; None means the best one.

    Raises
    ------
    StudyError
        They name two.
    """
    if None not in (trial, source.trial) and trial != source.trial:
        raise StudyError(f"{option} {trial}: {named} is trial {source.trial} already. Leave one out.")
    chosen = trial or source.trial
    return None if chosen == BEST else chosen


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what to transfer from to a command, as ``source``, ``trial`` and ``tracking_uri``."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="name of a study in ./runs, or its folder; STUDY:TRIAL, as in gn2_width:w32-0007; the folder of a wide "
        "run, for the trial that it was widened from; or the id of any of these in MLflow",
    )
    parser.add_argument("--trial", help="trial to widen, as in w32-0007 (default: the one with the lowest objective)")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow's place, to look the run up in and to record in (default: the study's own; to look up: "
        "$MLFLOW_TRACKING_URI, or sqlite:///mlflow.db)",
    )


def source_of(arguments: argparse.Namespace) -> tuple[StudyFolder, str | None]:
    """Return the study to transfer from and the trial that was named, if one was.

    Raises
    ------
    RaytagError
        There is no such study or run, or two trials are named.
    """
    source = find_source(arguments.source, arguments.tracking_uri)
    return source.study, trial_of(source, arguments.source, "--trial", arguments.trial)


def add_whole_study(parser: argparse.ArgumentParser) -> None:
    """Add a study of which no trial is chosen, as ``study`` and ``tracking_uri``."""
    parser.add_argument(
        "study", metavar="STUDY", help="name of a study in ./runs, or its folder, or the id of its run in MLflow"
    )
    add_tracking_uri(parser)


def whole_study_of(arguments: argparse.Namespace) -> StudyFolder:
    """Return the study that was named.

    Raises
    ------
    RaytagError
        There is no such study or run, or one model of a study was named.
    """
    source = find_source(arguments.study, arguments.tracking_uri)
    if source.trial:
        name = source.study.path.name
        raise StudyError(f"{arguments.study}: this is one model of the study {name}. Give the study alone.")
    return source.study
