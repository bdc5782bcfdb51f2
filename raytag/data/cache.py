"""The packed cache: a split's valid tracks in one memory-mapped Arrow file, made once per node and shared.

The file is one Arrow IPC record batch with a row per jet::

    jets: fixed_size_list<float>[Fj]   labels: int32   events: int64
    tracks: large_list<struct<inputs: fixed_size_list<float>[Ft], origins: int32, vertices: int32>>

so the list's child is one contiguous (T, Ft) matrix. Inputs are stored as they are in the h5 file and standardised
batch by batch: so all processes share the mapped pages, and an edited norm_dict.yaml needs no new cache. A cache is
named by what it was made from (:func:`cache_path`); raytag never deletes one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from raytag.config.experiment import DataConfig, Task
from raytag.data.h5 import select
from raytag.data.reading import Block, Selection, read_blocks
from raytag.data.scaling import Scaling, read_scaling
from raytag.data.schema import JETS, ORIGIN_LABEL, TRACKS, VERTEX_LABEL, Split
from raytag.data.values import ValueCheck
from raytag.errors import DataError, Problem

__all__ = ["JetTable", "cache_path", "open_split"]

# Part of every cache's name: raise it when the layout of the file changes.
FORMAT_VERSION = 2

# Bytes at either end of an h5 file that go into its identity.
DIGESTED_BYTES = 65_536


@dataclass(frozen=True)
class JetTable:
    """The jets of a split: read-only views of the mapped cache, inputs not yet standardised.

    Tracks ``offsets[i]`` to ``offsets[i + 1]`` belong to jet i, in the order of the h5 file.
    """

    jets: NDArray[np.float32]  # (J, Fj)
    tracks: NDArray[np.float32]  # (T, Ft)
    offsets: NDArray[np.int64]  # (J + 1,)
    labels: NDArray[np.int32]  # (J,)
    events: NDArray[np.int64] | None  # (J,) event numbers; None if the file has none
    origins: NDArray[np.int32] | None  # (T,); None if no task needs it
    vertices: NDArray[np.int32] | None  # (T,); None if no task needs it
    jet_scaling: Scaling
    track_scaling: Scaling
    class_names: tuple[str, ...]
    folds: NDArray[np.int64] | None = None  # (J,), see raytag.data.folds; None: no jet is ever held out

    def __len__(self) -> int:
        return len(self.labels)


def open_split(data: DataConfig, split: Split, tasks: Sequence[Task] = get_args(Task)) -> JetTable:
    """Map a split's packed cache, making it first if there is none or a damaged one.

    Parameters
    ----------
    tasks
        The truth labels of the tracks are read as these tasks need them; by default all.

    Raises
    ------
    DataError
        The h5 file, its values or norm_dict.yaml are wrong, or the cache's folder cannot be written.
    """
    selection = select(data, split, tasks)
    jet_scaling = read_scaling(data.norm_dict, JETS, data.jet_variables)
    track_scaling = read_scaling(data.norm_dict, TRACKS, data.track_variables)
    path = cache_path(data.cache_folder, selection)
    batch = _map(path, selection)
    if batch is None:
        with _locked(path):
            batch = _map(path, selection)  # another process may have made it while this one waited
            if batch is None:
                if path.exists():
                    _say(f"{path} is damaged and is made again.")
                _build(path, selection, split)
                batch = _map(path, selection)
    assert batch is not None, f"{path} is damaged right after it was written"
    return _table(batch, selection, jet_scaling, track_scaling)


def cache_path(folder: Path, selection: Selection) -> Path:
    """Return the file that caches this selection; another selection, or an edited h5 file, gets another name."""
    contents = asdict(selection) | {"path": _identity(selection.path), "format": FORMAT_VERSION, "dtype": "float32"}
    digest = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
    return folder / f"{selection.path.stem}-{digest[:16]}.arrow"


def _identity(path: Path) -> dict[str, Any]:
    """Tell a file from an edited one without reading all of it; a file that was moved keeps its identity."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(DIGESTED_BYTES))
        file.seek(max(0, status.st_size - DIGESTED_BYTES))
        digest.update(file.read(DIGESTED_BYTES))
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ends": digest.hexdigest()}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time make this cache. The kernel drops the lock of a process that dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # flock, not lockf: it also holds between two threads of a process
            yield
    except OSError as error:  # no permission, disk full; a fault of the h5 file is a DataError already
        message = f"the cache cannot be written here ({error}). Set data.cache to a folder with room."
        raise DataError([Problem("", message, file=path.parent)]) from error


def _build(path: Path, selection: Selection, split: Split) -> None:
    """Pack the jets beside ``path`` and rename the whole file into place."""
    start = time.perf_counter()
    spool = path.with_name(f".{path.name}.spool")
    shutil.rmtree(spool, ignore_errors=True)  # left by a build that was killed
    spool.mkdir()
    try:
        _spool_blocks(spool, selection, ValueCheck(selection, needs_every_class=split != "test"))
        batch = _assemble(spool, selection)
        _write(spool / path.name, batch)
        (spool / path.name).replace(path)
    finally:
        shutil.rmtree(spool)
    num_tracks, mib = len(batch["tracks"].values), path.stat().st_size / 2**20
    seconds = time.perf_counter() - start
    _say(f"Packed {selection.num_jets:,} jets, {num_tracks:,} tracks into {path} ({mib:.0f} MiB, {seconds:.1f} s).")


def _spool_blocks(spool: Path, selection: Selection, check: ValueCheck) -> None:
    """Append every column to a file of its own, so that memory stays bounded however many jets there are."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        columns = {name: stack.enter_context((spool / name).open("wb")) for name in _column_types(selection)}
        columns["offsets"].write(np.int64(0).tobytes())
        progress = stack.enter_context(Progress(console=console, transient=True, disable=not console.is_terminal))
        task = progress.add_task(f"Packing {selection.path.name}", total=selection.num_jets)
        num_tracks = 0
        for block in read_blocks(selection):
            check.add(block)
            for name, values in _block_columns(block, num_tracks).items():
                columns[name].write(values.tobytes())
            num_tracks += len(block.tracks)
            progress.advance(task, len(block.counts))
    if problems := check.problems():
        raise DataError(problems)


def _column_types(selection: Selection) -> dict[str, type[np.generic]]:
    types: dict[str, type[np.generic]] = {
        "jets": np.float32,
        "labels": np.int32,
        "offsets": np.int64,
        "tracks": np.float32,
    }
    if selection.has_events:
        types["events"] = np.int64
    if ORIGIN_LABEL in selection.track_labels:
        types["origins"] = np.int32
    if VERTEX_LABEL in selection.track_labels:
        types["vertices"] = np.int32
    return types


def _block_columns(block: Block, num_tracks_before: int) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "jets": block.jets,
        "labels": block.labels.astype(np.int32),
        "offsets": num_tracks_before + np.cumsum(block.counts),
        "tracks": block.tracks,
    }
    if block.events is not None:
        columns["events"] = block.events
    if block.origins is not None:
        columns["origins"] = block.origins.astype(np.int32)
    if block.vertices is not None:
        columns["vertices"] = block.vertices.astype(np.int32)
    return columns


def _schema(selection: Selection) -> pa.Schema:
    fields = [("inputs", pa.list_(pa.float32(), len(selection.track_variables)))]
    fields += [(name, pa.int32()) for name in ("origins", "vertices") if name in _column_types(selection)]
    return pa.schema(
        [
            pa.field("jets", pa.list_(pa.float32(), len(selection.jet_variables))),
            pa.field("labels", pa.int32()),
            *([pa.field("events", pa.int64())] if selection.has_events else []),
            pa.field("tracks", pa.large_list(pa.struct(fields))),
        ],
        metadata={"raytag": json.dumps(asdict(selection), default=str)},
    )


def _assemble(spool: Path, selection: Selection) -> pa.RecordBatch:
    """Make one record batch of the spooled columns, which stay on disk."""
    schema = _schema(selection)
    flat = {
        name: pa.array(np.memmap(spool / name, dtype=dtype, mode="r"))
        for name, dtype in _column_types(selection).items()
    }
    item = schema.field("tracks").type.value_type
    inputs = pa.FixedSizeListArray.from_arrays(flat["tracks"], type=item.field("inputs").type)
    labels = [flat[field.name] for field in item if field.name != "inputs"]
    tracks = pa.StructArray.from_arrays([inputs, *labels], fields=list(item))
    jets = pa.FixedSizeListArray.from_arrays(flat["jets"], type=schema.field("jets").type)
    lists = pa.LargeListArray.from_arrays(flat["offsets"], tracks)
    columns = {**flat, "jets": jets, "tracks": lists}
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _write(path: Path, batch: pa.RecordBatch) -> None:
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())  # or a crash after the rename could leave a whole name with half a file


def _map(path: Path, selection: Selection) -> pa.RecordBatch | None:
    """Map a cache; None if there is none or it is damaged."""
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate()
    except (OSError, pa.ArrowException):
        return None
    fits = batch.schema.equals(_schema(selection)) and batch.num_rows == selection.num_jets
    return batch if fits else None


def _table(batch: pa.RecordBatch, selection: Selection, jet_scaling: Scaling, track_scaling: Scaling) -> JetTable:
    lists = batch["tracks"]
    tracks = {field.name: lists.values.field(field.name) for field in lists.type.value_type}
    return JetTable(
        jets=_view(batch["jets"].values).reshape(-1, len(selection.jet_variables)),
        tracks=_view(tracks["inputs"].values).reshape(-1, len(selection.track_variables)),
        offsets=_view(lists.offsets),
        labels=_view(batch["labels"]),
        events=_view(batch["events"]) if selection.has_events else None,
        origins=_view(tracks["origins"]) if "origins" in tracks else None,
        vertices=_view(tracks["vertices"]) if "vertices" in tracks else None,
        jet_scaling=jet_scaling,
        track_scaling=track_scaling,
        class_names=selection.class_names,
    )


def _view(array: pa.Array) -> NDArray[Any]:
    view: NDArray[Any] = array.to_numpy(zero_copy_only=True)
    return view


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)
