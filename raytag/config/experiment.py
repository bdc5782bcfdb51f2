"""The experiment file as frozen, typed sections: what a user may write, with defaults, ranges and meaning.

Reading the YAML is :mod:`raytag.config.load`'s job; looking into the data files is :mod:`raytag.data.h5`'s.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from raytag.config.hyperparameters import Frozen, Hyperparameters

__all__ = [
    "Autocast",
    "CompileMode",
    "DataConfig",
    "ExecutorName",
    "Experiment",
    "MlflowConfig",
    "MupConfig",
    "Optimizer",
    "Parametrisation",
    "Reduction",
    "ResourcesConfig",
    "Sampler",
    "Schedule",
    "SearchConfig",
    "TaggerConfig",
    "Task",
    "TrainingConfig",
    "resolve_path",
]

Reduction = Literal["mean", "worst", "best_fraction"]
Parametrisation = Literal["mup", "standard"]
Autocast = Literal["none", "bfloat16"]
ExecutorName = Literal["loop", "vmap"]
CompileMode = Literal["off", "default", "reduce_overhead"]
Optimizer = Literal["adamw", "lion", "muon", "sgd"]
Sampler = Literal["tpe", "random", "lr_grid", "fixed"]
Schedule = Literal["one_cycle", "warmup_cosine", "cosine_restarts", "warmup_stable_decay", "constant"]
Task = Literal["jet_classification", "track_origin", "vertexing"]

# The 19 track inputs of Salt's GN2 configuration (umami-hep/salt, salt/configs/GN2/GN2.yaml), in its order.
GN2_TRACK_VARIABLES = (
    "d0",
    "z0SinTheta",
    "dphi",
    "deta",
    "qOverP",
    "IP3D_signed_d0_significance",
    "IP3D_signed_z0_significance",
    "phiUncertainty",
    "thetaUncertainty",
    "qOverPUncertainty",
    "numberOfPixelHits",
    "numberOfSCTHits",
    "numberOfInnermostPixelLayerHits",
    "numberOfNextToInnermostPixelLayerHits",
    "numberOfInnermostPixelLayerSharedHits",
    "numberOfInnermostPixelLayerSplitHits",
    "numberOfPixelSharedHits",
    "numberOfPixelSplitHits",
    "numberOfSCTSharedHits",
)


def resolve_path(path: Path | str, folder: Path) -> Path:
    """Expand ``${ENV}`` and ``~``, and read a relative path from a folder."""
    return Path(os.path.normpath(folder / Path(os.path.expandvars(path)).expanduser()))


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Read a path from the folder of the file that names it."""
    resolved = resolve_path(path, (info.context or {}).get("folder", Path()))
    if unset := re.search(r"\$\{(\w+)\}", str(resolved)):
        raise ValueError(f"the environment variable {unset[1]} is not set")
    return resolved


ConfigPath = Annotated[Path, AfterValidator(_resolve)]


class DataConfig(Frozen):
    """Where the jets are and which of their variables the tagger reads (GN2 h5 layout)."""

    train: ConfigPath = Field(description="h5 file of training jets.")
    val: ConfigPath = Field(description="h5 file of validation jets; the search's objective comes from it.")
    test: ConfigPath | None = Field(
        None, description="h5 file of test jets, read by `raytag transfer` and `raytag ensemble` only."
    )
    norm_dict: ConfigPath = Field(description="YAML {dataset: {variable: {mean, std}}} of the training file.")
    class_dict: ConfigPath | None = Field(
        None, description="YAML {dataset: {label: [class weights]}}; without it every class weighs 1."
    )
    jet_variables: tuple[str, ...] = Field(
        ("pt_btagJes", "eta_btagJes"), min_length=1, description="Jet inputs, joined to every track."
    )
    track_variables: tuple[str, ...] = Field(GN2_TRACK_VARIABLES, min_length=1, description="Track inputs.")
    num_train_jets: int | None = Field(None, gt=0, description="Read only the first jets of the training file.")
    num_val_jets: int | None = Field(None, gt=0, description="Read only the first jets of the validation file.")
    num_test_jets: int | None = Field(None, gt=0, description="Read only the first jets of the test file.")
    cache: ConfigPath | None = Field(
        None, description="Folder of the packed Arrow cache; default: .raytag-cache beside the training file."
    )

    @property
    def cache_folder(self) -> Path:
        """The folder that holds the packed cache."""
        return self.cache or self.train.parent / ".raytag-cache"


class TaggerConfig(Frozen):
    """The structure of the GN2 tagger; every size not named here scales with the width."""

    num_layers: int = Field(4, ge=1, description="Transformer encoder layers.")
    num_heads: int = Field(8, ge=1, description="Attention heads, the same at every width unless head_width is given.")
    head_width: int | None = Field(
        None,
        ge=1,
        description="Width of an attention head, the same at every width; heads then grow in number instead.",
    )
    tasks: tuple[Task, ...] = Field(
        ("jet_classification", "track_origin", "vertexing"),
        description="Heads to train; jets always come first.",
    )

    def num_heads_at(self, width: int) -> int:
        """Return the number of attention heads of a model of this width."""
        return self.num_heads if self.head_width is None else width // self.head_width

    @field_validator("tasks")
    @classmethod
    def _starts_with_jets(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        if not tasks or tasks[0] != "jet_classification" or len(set(tasks)) != len(tasks):
            raise ValueError("expected jet_classification first, then other tasks, each once")
        return tasks


class MupConfig(Frozen):
    """The parametrisation and its base width."""

    parametrisation: Parametrisation = Field(
        "mup",
        description="mup transfers; standard is the control: the same at the base width, and nothing scaled at others.",
    )
    base_width: int = Field(32, ge=8, description="Width at which muP equals the standard learning rates.")
    base_num_layers: int | None = Field(
        None,
        ge=1,
        description="Depth at which residual branches weigh 1; at others base_num_layers / num_layers, so that tuned "
        "values hold for them too (CompleteP). none: 1 at any depth.",
    )
    skip_check: bool = Field(False, description="Search even without the gates; recorded in the study.")

    def base_of(self, width: int) -> int:
        """Return the width where a model of this width has all factors 1: its own in the standard parametrisation."""
        return self.base_width if self.parametrisation == "mup" else width

    @property
    def depth_base(self) -> int | None:
        """``base_num_layers`` where it acts; None if there is no rule for depth, as in the standard parametrisation."""
        return self.base_num_layers if self.parametrisation == "mup" else None

    def branch_weight(self, num_layers: int) -> float:
        """Return what a residual branch of a model of this depth is multiplied by."""
        return 1.0 if self.depth_base is None else self.depth_base / num_layers


class TrainingConfig(Frozen):
    """One trial's training, counted in optimizer steps."""

    num_steps: int = Field(1000, ge=1, description="Optimizer steps of a full trial.")
    batch_size: int = Field(256, ge=1, description="Jets in a minibatch.")
    evaluate_every: int = Field(100, ge=1, description="Steps between validations; each is a report to the study.")
    optimizer: Optimizer = Field(
        "adamw", description="Update rule; muon is for matrices from width to width, AdamW does the rest."
    )
    schedule: Schedule = Field(
        "one_cycle", description="Shape of the learning rate over a trial's own steps; one_cycle also moves beta1."
    )
    num_cycles: int = Field(3, ge=1, description="Cosines of equal length under cosine_restarts.")
    precision: Literal["float32", "float64"] = Field("float32", description="Floating-point type of the training.")
    autocast: Autocast = Field(
        "none", description="bfloat16: matrix products of the training run in it; parameters and losses stay float32."
    )
    tf32: bool = Field(False, description="On a GPU, let float32 matrix products round their inputs to TensorFloat-32.")
    data_seed: int = Field(0, ge=0, description="Seed of the order of minibatches, shared by all trials.")

    @model_validator(mode="after")
    def _reports_at_least_once(self) -> TrainingConfig:
        if self.evaluate_every > self.num_steps:
            raise ValueError(f"evaluate_every ({self.evaluate_every}) exceeds num_steps ({self.num_steps})")
        return self

    @model_validator(mode="after")
    def _casts_from_float32(self) -> TrainingConfig:
        if self.autocast != "none" and self.precision != "float32":
            raise ValueError(f"autocast {self.autocast} needs precision float32, found {self.precision}")
        return self


class SearchConfig(Frozen):
    """What is searched, how many trials, and how poor ones are stopped."""

    space: ConfigPath | None = Field(None, description="YAML file of the search space; only sampler fixed has none.")
    widths: tuple[Annotated[int, Ge(8)], ...] = Field(
        (32,), min_length=1, description="Model widths; each gets its own trials."
    )
    trials_per_width: int = Field(20, ge=1, description="Trials of each width, counting pruned and failed ones.")
    sampler: Sampler = Field(
        "tpe",
        description="tpe, random: Optuna's. lr_grid: learning rates by factors of 2 until the best one is inside, then "
        "of √2 around it, all with the same seeds. fixed: one trial of each width, with the experiment's own values.",
    )
    num_startup_trials: int = Field(8, ge=1, description="Random trials of each width before TPE begins.")
    seed: int = Field(1, ge=0, description="Seed of the sampler and of the trials' initial weights.")
    first_rung: int | None = Field(
        None, ge=1, description="Steps before the first pruning decision; none: trials are never pruned."
    )
    reduction_factor: int = Field(3, ge=2, description="One trial in this many survives a rung.")
    scheduler: Literal["halving", "pbt"] = Field(
        "halving",
        description="What happens to poor trials: halving stops them at the rungs; pbt (population-based training) "
        "lets them go on from a good one, with perturbed hyperparameters.",
    )
    population: int = Field(8, ge=4, description="Trials of a population of pbt; a worker trains all of them at once.")
    perturb_every: int | None = Field(
        None, ge=1, description="Steps of a generation of pbt; default: training.evaluate_every."
    )
    replicas: int = Field(1, ge=1, description="Seeds that each trial is trained with, at once.")
    folds: int = Field(
        1, ge=1, description="Trainings of each trial, each on all training jets but one fold, which validates it."
    )
    reduction: Reduction = Field(
        "mean",
        description="Objective of a trial of several trainings (replicas x folds): their mean, the worst one's, or the "
        "mean of the best ones. lr_grid needs mean.",
    )
    best_fraction: float = Field(
        0.5, gt=0, le=1, description="Share of the trainings that reduction best_fraction takes; at least one."
    )

    @field_validator("widths")
    @classmethod
    def _ascending(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if list(widths) != sorted(set(widths)):
            raise ValueError("widths must rise and not repeat")
        return widths

    @property
    def most_trials(self) -> int:
        """The trials of each width; under lr_grid the most, as it ends once the best learning rate is inside."""
        return 1 if self.sampler == "fixed" else self.trials_per_width

    @property
    def has_paired_seeds(self) -> bool:
        """Whether all trials have the same seeds, so that nothing but their values tells them apart."""
        return self.sampler in ("lr_grid", "fixed")

    @property
    def num_members(self) -> int:
        """The trainings that make one trial: every replica on every fold."""
        return self.replicas * self.folds

    @property
    def least_slots(self) -> int:
        """The slots that a worker needs for what advances in step: all members of a trial, or a population."""
        return self.population if self.scheduler == "pbt" else self.num_members

    def most_workers(self, num_trials: int) -> int:
        """Return how many workers can share this many trials; a population is trained by one."""
        return -(-num_trials // self.population) if self.scheduler == "pbt" else num_trials


class ResourcesConfig(Frozen):
    """How Ray places the workers. The defaults use every core, and every GPU if there are any."""

    num_workers: int | None = Field(None, ge=1, description="Workers; default: one per core, or 4 per GPU.")
    slots: int | None = Field(
        None,
        ge=1,
        description="Trials that one worker trains at once; default: 4 on a CPU, on a GPU as many as its share of the "
        "memory holds.",
    )
    executor: Literal["auto", ExecutorName] = Field(
        "auto", description="How a group runs its trials: loop, in turn; vmap, all at once; auto, whichever is faster."
    )
    compile: CompileMode = Field(
        "off", description="torch.compile of the training step; reduce_overhead adds CUDA graphs on a GPU."
    )
    cpus_per_worker: float = Field(1.0, gt=0, description="Cores reserved by a worker.")
    gpus_per_worker: float | None = Field(
        None, ge=0, description="Share of a GPU; default: GPUs / workers, or 0 without a GPU."
    )
    object_store_mib: int = Field(128, ge=80, description="Ray's object store on a local start, in MiB.")
    checkpoint_seconds: float | None = Field(
        60.0, gt=0, description="Seconds between a worker's checkpoints; null: only when a trial is validated."
    )
    max_worker_failures: int = Field(3, ge=0, description="Times a lost worker is started again.")


class MlflowConfig(Frozen):
    """Where MLflow records the study."""

    tracking_uri: str | None = Field(
        None, description="Default: $MLFLOW_TRACKING_URI, or sqlite:///mlflow.db in the working directory."
    )
    experiment: str = Field("raytag", min_length=1, description="MLflow experiment that holds the runs.")


class Experiment(Frozen):
    """One experiment file, validated."""

    name: str = Field(description="Name of the study and of its folder.")
    workload: Literal["tagging"] = Field("tagging", description="The physics task.")
    data: DataConfig
    model: TaggerConfig = TaggerConfig()
    mup: MupConfig = MupConfig()
    training: TrainingConfig = TrainingConfig()
    hyperparameters: Hyperparameters = Hyperparameters()
    search: SearchConfig
    resources: ResourcesConfig = ResourcesConfig()
    mlflow: MlflowConfig = MlflowConfig()
    output: ConfigPath | None = Field(
        None, description="Folder that gets a folder per study; default: runs in the working directory."
    )
    vary: dict[str, tuple[bool | int | float | str | None, ...]] = Field(
        {},
        description="Settings by dotted key, each with several values: every combination is a study of its own, in a "
        "folder of this name.",
    )

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(f"expected a letter or digit, then letters, digits, '.', '_', '-'; found {name!r}")
        return name

    @property
    def study_folder(self) -> Path:
        """The folder of this experiment's study."""
        return (self.output or Path("runs")).absolute() / self.name
