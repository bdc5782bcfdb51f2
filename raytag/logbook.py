"""The logbook: MLflow runs that can be written again and again without doubling anything. The only user of mlflow.

A run is found by its key, a tag; a metric's timestamp follows from the run's start and the trial's own seconds. Writing
the same history twice is therefore a no-op in MLflow's own tables, and a writer that was killed simply begins again.
A single number is written again only where another one is there; MLflow shows the one with the latest timestamp.
Only one process writes at a time: MLflow's sqlite store loses writes otherwise.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import shlex
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from raytag.errors import RaytagError, first_line

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pydantic complains about mlflow's own models when they are imported
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.entities import Run as MlflowRun
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

__all__ = [
    "DESCRIPTION",
    "KEY",
    "Logbook",
    "LogbookError",
    "Run",
    "RunRecord",
    "Status",
    "default_tracking_uri",
    "find_run",
    "view_command",
]

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

DESCRIPTION = "mlflow.note.content"  # the tag that MLflow shows as a run's description, in Markdown
KEY = "raytag.key"  # the tag that tells what a run is of
LAST_STEP = "raytag.last_step"
WRITTEN = "raytag.written"  # "raytag.written.<file>" → digest of the text that the artifact holds
SECONDS = "seconds"  # the metric that counts a trial's own seconds
INVALID = "INVALID_PARAMETER_VALUE"  # MLflow's code for what no retry mends
MISSING = "RESOURCE_DOES_NOT_EXIST"
MAX_TAG = 5000  # characters that MLflow keeps of a tag
METRICS_PER_CALL = 1000  # MLflow's limit for one log_batch

LogbookError = MlflowException


def default_tracking_uri() -> str:
    """Return ``$MLFLOW_TRACKING_URI``, or a sqlite file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def view_command(tracking_uri: str, mlflow: str = "mlflow") -> str:
    """Return what the user types, or opens, to see the runs; ``mlflow`` is how he starts that program."""
    if tracking_uri.startswith("http"):
        return tracking_uri
    return f"{mlflow} ui --backend-store-uri {shlex.quote(tracking_uri)}"


@dataclass(frozen=True)
class RunRecord:
    """What MLflow knows of a run, of whichever experiment."""

    name: str
    tags: Mapping[str, str]


def find_run(tracking_uri: str, run_id: str) -> RunRecord:
    """Look a run up; nothing is written.

    Raises
    ------
    RaytagError
        There is no such run, or MLflow cannot be asked.
    """
    _be_quiet_and_quick()
    path = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:///") and not path.exists():  # mlflow would create it
        raise RaytagError(f"{run_id}: to look for this run, name MLflow's place (--tracking-uri); {path} is no file.")
    try:
        with _judging(tracking_uri):
            run = MlflowClient(tracking_uri=tracking_uri).get_run(run_id)
    except LogbookError as error:
        if error.error_code == MISSING:
            raise RaytagError(f"{run_id}: MLflow at {tracking_uri} has no such run (--tracking-uri).") from error
        raise RaytagError(f"{run_id}: MLflow at {tracking_uri} failed: {first_line(error)}") from error
    return RunRecord(run.info.run_name, run.data.tags)


class Logbook:
    """One MLflow experiment, created if it is missing.

    Parameters
    ----------
    tracking_uri
        A sqlite file (``sqlite:///...``) or a tracking server.
    experiment
        Name of the MLflow experiment.

    Raises
    ------
    RaytagError
        The URI can never work: it is malformed, or the driver of its database is not installed.
    LogbookError
        The server does not answer now.
    """

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        _be_quiet_and_quick()
        self.tracking_uri = tracking_uri
        with _judging(tracking_uri):
            self._client = MlflowClient(tracking_uri=tracking_uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment_id = found.experiment_id if found else self._create(experiment)

    def open_run(self, key: str, name: str, tags: Mapping[str, str], parent: Run | None = None) -> Run:
        """Return the run of this key, whatever its status; create it if there is none."""
        found = self._search(f"tags.`{KEY}` = '{key}'")
        if found:
            run = Run(self._client, found[0])
            run.tag(tags)
            return run
        nested = {"mlflow.parentRunId": parent.run_id} if parent else {}
        tags = {KEY: key, "mlflow.user": getpass.getuser(), **nested, **tags}
        created = self._client.create_run(self._experiment_id, run_name=name, tags=tags)
        return Run(self._client, created)

    def nested_runs(self, parent: Run) -> dict[str, Run]:
        """Return a parent's runs by key."""
        found = self._search(f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
        return {run.data.tags[KEY]: Run(self._client, run) for run in found if KEY in run.data.tags}

    def _search(self, condition: str) -> list[MlflowRun]:
        runs: list[MlflowRun] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _create(self, name: str) -> str:
        """Create the experiment, with its artifacts beside a sqlite file: there any ``mlflow ui`` finds them."""
        place = None
        if self.tracking_uri.startswith("sqlite:///"):
            database = Path(self.tracking_uri.removeprefix("sqlite:///")).absolute()
            place = (database.parent / "mlartifacts" / name).as_uri()
        experiment_id: str = self._client.create_experiment(name, artifact_location=place)
        return experiment_id


class Run:
    """One MLflow run; every method may be repeated."""

    def __init__(self, client: MlflowClient, run: MlflowRun) -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self.status: str = run.info.status
        self._started_ms: int = run.info.start_time
        self._params, self._metrics = set(run.data.params), dict(run.data.metrics)
        self._tags = dict(run.data.tags)
        self._last_step = int(self._tags.get(LAST_STEP, -1))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags; those that already have their value cost nothing."""
        kept = {key: value[:MAX_TAG] for key, value in tags.items()}
        new = {key: value for key, value in kept.items() if self._tags.get(key) != value}
        if new:
            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in new.items()])
            self._tags.update(new)

    def describe(self, params: Mapping[str, float | str]) -> None:
        """Write parameters; those that are there already cost nothing."""
        new = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in params.items()}
        new = {name: text for name, text in new.items() if name not in self._params}
        if new:
            self._client.log_batch(self.run_id, params=[Param(name, text) for name, text in new.items()])
            self._params |= new.keys()

    def note(self, numbers: Mapping[str, float]) -> None:
        """Write numbers as metrics of step 0; those that are there with this value already cost nothing."""
        values = {key: float(value) for key, value in numbers.items()}
        new = {key: value for key, value in values.items() if repr(value) != repr(self._metrics.get(key))}  # NaN is NaN
        if new:
            now = round(1000 * time.time())
            times = {key: now if key in self._metrics else self._started_ms for key in new}
            self._client.log_batch(self.run_id, metrics=[Metric(key, new[key], times[key], 0) for key in new])
            self._metrics |= new

    def follow(self, history: Mapping[int, Mapping[str, float]]) -> None:
        """Write the metrics of the steps that are not in the run yet."""
        new = {step: metrics for step, metrics in sorted(history.items()) if step > self._last_step}
        if not new:
            return
        entries = [
            Metric(name, value, self._started_ms + round(1000 * metrics.get(SECONDS, 0)), step)
            for step, metrics in new.items()
            for name, value in metrics.items()
        ]
        for start in range(0, len(entries), METRICS_PER_CALL):
            self._client.log_batch(self.run_id, metrics=entries[start : start + METRICS_PER_CALL])
        self.tag({LAST_STEP: str(max(new))})  # after the metrics: a killed writer repeats them, which adds nothing
        self._last_step = max(new)

    def write(self, name: str, text: str) -> None:
        """Write a text as an artifact; one that holds this text already costs nothing."""
        tag, digest = f"{WRITTEN}.{name}", hashlib.sha256(text.encode()).hexdigest()[:16]
        if self._tags.get(tag) != digest:
            self._client.log_text(self.run_id, text, name)
            self.tag({tag: digest})  # after the text: a killed writer writes it again

    def attach(self, files: Iterable[Path]) -> None:
        """Copy files into the run's artifacts."""
        for file in files:
            self._client.log_artifact(self.run_id, str(file))

    def set_status(self, status: Status) -> None:
        """Set the run's status; all but RUNNING end it."""
        if status == self.status:
            return
        if status == "RUNNING":
            self._client.update_run(self.run_id, status=status)
        else:
            self._client.set_terminated(self.run_id, status)
        self.status = status


@contextmanager
def _judging(tracking_uri: str) -> Iterator[None]:
    """Tell an URI that can never work from a server that is away."""
    try:
        yield
    except OperationalError as error:
        raise LogbookError(str(error)) from error
    except (ImportError, SQLAlchemyError, MlflowException) as error:
        if isinstance(error, MlflowException) and error.error_code != INVALID:
            raise
        reason = first_line(error).rstrip(".")
        raise RaytagError(
            f"mlflow.tracking_uri {tracking_uri}: {reason}. Expected a server, as in http://host:5000, or a database, "
            "as in sqlite:///mlflow.db, whose driver is installed."
        ) from error


def _be_quiet_and_quick() -> None:
    """Keep mlflow's chatter off the terminal and let a server that is away fail in seconds, not in minutes."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
