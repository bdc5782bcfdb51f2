"""How much memory a group of R slots needs, found from one forward pass, and how many slots fit into how much.

Beside its process a group holds R rows of storage and the minibatches of recent steps, all the time; during a step also
activations: of one row after the other in the loop, of all rows at once under vmap. A validation, which needs no
gradients, holds a share of what training on its batch would.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from raytag.config.experiment import ExecutorName, Experiment
from raytag.training.algorithms import MOMENTS
from raytag.training.cost import activation_bytes, batch_bytes
from raytag.training.executors.selection import NUM_CHECKED_ROWS
from raytag.training.layout import Layout
from raytag.training.precision import parameter_dtype
from raytag.training.workload import Workload

__all__ = [
    "CPU_SLOTS",
    "FIRST_STEP_BYTES",
    "ExecutorWish",
    "GroupMemory",
    "free_bytes",
    "group_memory",
    "process_bytes",
    "slots_that_fit",
]

MIB = 2**20

#: What ``resources.executor`` may say.
ExecutorWish = ExecutorName | Literal["auto"]

#: What is allocated for a byte of activations, and for one of the minibatches that stay. On the CPU glibc keeps freed
#: tensors of other sizes, the more so with long-lived ones in between: measured (docs/performance.md). For torch's
#: allocator on a GPU, which rounds and splits blocks, both are guesses.
ACTIVATION_OVERHEAD = {"cpu": 1.8, "cuda": 1.25}
BATCH_OVERHEAD = {"cpu": 2.0, "cuda": 1.25}
#: Rows that run at once keep this share of what they keep in turn (GN2: 0.92): masks and indices are there once.
AT_ONCE_SHARE = 0.92
#: The same where vmap is only tried, as mostly on a CPU: a few steps leave less behind.
TRIED_SHARE = 0.78
#: What the first step loads: kernels and their buffers; on a GPU also CUDA's context, outside torch's allocator.
FIRST_STEP_BYTES = {"cpu": 30 * MIB, "cuda": 600 * MIB}
#: Peak of a forward pass without gradients, as a share of what one with gradients keeps (GN2: 0.17 to 0.19).
FORWARD_SHARE = 0.2

#: More slots do not make a CPU faster (docs/performance.md), fewer share fewer batches.
CPU_SLOTS = 4
#: Beyond this a GPU is full of work, and few searches have the trials.
MAX_SLOTS = 64
MOST_SLOTS = 4096


@dataclass(frozen=True)
class GroupMemory:
    """What a group of one width adds to its process, in bytes.

    Attributes
    ----------
    device
        Where it lies: "cpu" or "cuda".
    num_parameters
        Numbers in one model.
    slot
        Parameters, gradients and the optimizer's moments of one slot.
    batches
        Minibatches that are kept.
    activations
        What one row keeps between its forward and its backward pass, on the largest of these minibatches.
    validation
        The largest tensors of a validation.
    """

    device: str
    num_parameters: int
    slot: int
    batches: int
    activations: int
    validation: int

    def peak(self, slots: int, executor: ExecutorWish) -> int:
        """Return the most that a group of this many slots takes with an executor; with "auto", while it is chosen."""
        return int(
            FIRST_STEP_BYTES[self.device]
            + slots * self.slot
            + BATCH_OVERHEAD[self.device] * self.batches
            + ACTIVATION_OVERHEAD[self.device] * max(self._activations(slots, executor), self.validation)
        )

    def most_slots(self, available: int, executor: ExecutorWish) -> int:
        """Return how many slots fit into this many bytes, counting up to 4,096; 0 if not even one does."""
        return bisect_right(range(1, MOST_SLOTS + 1), available, key=lambda slots: self.peak(slots, executor))

    def _activations(self, slots: int, executor: ExecutorWish) -> float:
        if executor == "loop":
            return self.activations
        # Before vmap is used, it runs a few rows in float64, which are twice as large, beside the loop.
        num_rows = max(slots, 2 * min(slots, NUM_CHECKED_ROWS))
        share = TRIED_SHARE if executor == "auto" and self.device == "cpu" else AT_ONCE_SHARE
        return self.activations * max(1.0, share * num_rows)


def group_memory(workload: Workload[Any], width: int) -> GroupMemory:
    """Find what a group of a width needs, by running one model forward on the largest of the first minibatches."""
    training = workload.experiment.training
    dtype = parameter_dtype(training)
    layout = Layout.of(workload.rule_table(width), dtype)
    model = workload.build_model(width).to(workload.device, dtype).train()
    model.set_hyperparameters(workload.experiment.hyperparameters)
    num_kept = min(workload.num_recent_batches, training.num_steps)
    batches = [workload.train_batch(step) for step in range(num_kept)]
    sizes = [batch_bytes(batch) for batch in batches]
    largest = max(sizes)
    activations = activation_bytes(workload, model, batches[sizes.index(largest)], training.autocast)
    relative = batch_bytes(next(iter(workload.batches("val")))) / largest
    return GroupMemory(
        device=workload.device.type,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        slot=(2 + len(MOMENTS[training.optimizer])) * layout.size * dtype.itemsize,
        batches=sum(sizes),
        activations=activations,
        validation=int(FORWARD_SHARE * relative * activations),
    )


def slots_that_fit(memory: GroupMemory, available: int, experiment: Experiment) -> int:
    """Choose the number of slots of a group: what the experiment says, else what is useful and fits.

    On a CPU that is 4, on a GPU a power of two, so that a group halves evenly: as many as fit, but no more than there
    are trainings of a width, or 64. A population gets one for each trial. What advances in step gets its slots whether
    it fits or not.

    Parameters
    ----------
    available
        Bytes that the group may take.
    """
    resources, search = experiment.resources, experiment.search
    if resources.slots is not None:
        return resources.slots
    if search.scheduler == "pbt":
        return search.population
    num_trainings = search.most_trials * search.num_members
    most = CPU_SLOTS if memory.device == "cpu" else min(MAX_SLOTS, 1 << (num_trainings - 1).bit_length())
    slots = max(most, search.least_slots)
    while slots > search.least_slots and memory.peak(slots, resources.executor) > available:
        slots = max(search.least_slots, slots // 2)
    return slots


def free_bytes(device: torch.device, share: float) -> int:
    """Return what this process may still take of a device's memory, if it is entitled to this share of it.

    A GPU's share is one of the whole, and of this machine's memory one of what is available now: others are at work on
    it, and most of what they will use they have when a group starts.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(min(share * total, free))
    return int(share * _available_bytes())


def process_bytes() -> int:
    """Return the memory in which this process resides now (Linux), shared libraries included."""
    return _in_bytes(Path("/proc/self/status").read_text(), "VmRSS")


def _available_bytes() -> int:
    """Return the memory that this machine, or the container that we are in, can still give."""
    available = _in_bytes(Path("/proc/meminfo").read_text(), "MemAvailable")
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        available = min(available, int(text) - int(used.read_text()))
    return available


def _in_bytes(text: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None, f"no {key} in {text}"
    return 1024 * int(found[1])
