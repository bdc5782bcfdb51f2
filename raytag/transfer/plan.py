"""What is carried from a tuned narrow trial to a wide model, and why. Pure bookkeeping: nothing is trained here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from raytag.config.experiment import Experiment, Parametrisation
from raytag.config.hyperparameters import Hyperparameters
from raytag.config.space import SearchSpace, TransferClass
from raytag.mup.scaling_rules import Rescaled, ScalingRule, Source, rescale
from raytag.records import TrialRecord
from raytag.search.members import members_of
from raytag.training.trial import Trial
from raytag.transfer.target import Target, horizon_of

__all__ = ["Carried", "Class", "Start", "TransferPlan", "plan_transfer"]

Class = TransferClass | Literal["fixed"]

MUP = Source("muP", "Yang et al., arXiv:2203.03466")
COMPLETE_P = Source("CompleteP", "Dey et al., arXiv:2505.01618")

# Short: a reason is the last column of a table 80 characters wide.
_REASONS: Mapping[Class, str] = {
    "yes": "muP: same optimum at any width",
    "rule": "muP scales it with the width",
    "verify": "carried by no rule: check it",
    "no": "the experiment's own value",
    "fixed": "not searched",
}
_BY_MUP = ("yes", "rule")
_WITHOUT_MUP = "carried without muP: check it"


@dataclass(frozen=True)
class Carried:
    """One setting of the wide model: its value in the study and now, its transfer class, the reason and its papers."""

    name: str
    old: float | None
    value: float | None
    transfer: Class
    reason: str
    papers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """What a training begins with: first values, or the weights of a narrow model, ``widened`` or ``continued``.

    ``weights`` names that model if it is not the source trial's.
    """

    kind: Literal["fresh", "widened", "continued"] = "fresh"
    weights: str | None = None

    def __str__(self) -> str:
        word = {"fresh": "", "widened": "-warm", "continued": "-continued"}[self.kind]
        return word if self.weights is None else f"{word}-{self.weights}"


@dataclass(frozen=True)
class TransferPlan:
    """The wide experiment, and how every setting of it came about.

    Attributes
    ----------
    source
        The tuned trial.
    width
        That of the wide model.
    carried
        Every hyperparameter.
    experiment
        The wide one.
    study
        The study's own experiment.
    start
        What the training begins with.
    settings
        Width, depth, batch and steps: those that differ from the study's.
    shape
        What tells the run from others of its width, as :meth:`raytag.transfer.target.Target.shape` has it.
    notes
        What no rule covers.
    """

    source: TrialRecord
    width: int
    carried: tuple[Carried, ...]
    experiment: Experiment
    study: Experiment
    start: Start = Start()
    settings: tuple[Carried, ...] = ()
    shape: str = ""
    notes: tuple[str, ...] = ()

    @property
    def trial(self) -> Trial:
        """The wide model's training."""
        name = f"w{self.width}{self.shape}{self.start}-from-{self.source.name}"
        return Trial(name, self.width, self.source.seed, self.experiment.hyperparameters)

    @property
    def narrow(self) -> str:
        """The training that the wide model is measured beside: of several members the first, which has its seed."""
        return members_of(self.source, self.study.search)[0].name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "source_trial": self.source.name,
            "source_width": self.source.width,
            "source_objective": self.source.objective,
            "width": self.width,
            "start": {"kind": self.start.kind, "weights": self.start.weights},
            "settings": _by_name(self.settings),
            "hyperparameters": _by_name(self.carried),
            "notes": list(self.notes),
        }


def plan_transfer(experiment: Experiment, space: SearchSpace, source: TrialRecord, target: Target) -> TransferPlan:
    """Carry what a search found with the trial ``source`` to another model.

    Hyperparameters that were not searched, or whose transfer class is ``no``, keep the experiment's values. Where batch
    or steps change, the rules of :mod:`raytag.mup.scaling_rules` act on all of them: whoever set a value set it for the
    study's batches and steps.
    """
    wide = target.experiment(experiment)
    classes: dict[str, Class] = {
        name: space.root[name].transfer if name in space.root else "fixed" for name in Hyperparameters.model_fields
    }
    kept = {name: own for name, own in experiment.hyperparameters if classes[name] in ("no", "fixed")}
    rules = [rule for rule in get_args(ScalingRule) if rule not in target.without_rules]
    rescaled = rescale(
        source.hyperparameters.model_copy(update=kept),
        experiment.training.optimizer,
        horizon_of(experiment),
        horizon_of(wide),
        rules,
    )
    return TransferPlan(
        source=source,
        width=target.width,
        carried=tuple(_carry(source.hyperparameters, classes, rescaled, experiment.mup.parametrisation)),
        experiment=wide.model_copy(update={"hyperparameters": rescaled.hyperparameters}),
        study=experiment,
        settings=tuple(_settings(experiment, wide, source.width, target)),
        shape=target.shape(experiment),
        notes=(*rescaled.notes, *_notes_on_the_source(experiment, source)),
    )


def _carry(
    tuned: Hyperparameters, classes: Mapping[str, Class], rescaled: Rescaled, parametrisation: Parametrisation
) -> Iterator[Carried]:
    """Yield every hyperparameter with the reason for its value."""
    for name, value in rescaled.hyperparameters:
        old, transfer, change = getattr(tuned, name), classes[name], rescaled.changes.get(name)
        if change:
            yield Carried(name, old, value, "rule", change.rules, change.papers)
        elif transfer not in _BY_MUP:
            yield Carried(name, old, value, transfer, _REASONS[transfer])
        elif parametrisation == "mup":
            yield Carried(name, old, value, transfer, _REASONS[transfer], (MUP.paper,))
        else:
            yield Carried(name, old, value, "verify", _WITHOUT_MUP)


def _settings(study: Experiment, wide: Experiment, source_width: int, target: Target) -> Iterator[Carried]:
    """Yield what the user changed, with what is done about it."""
    is_mup = study.mup.parametrisation == "mup"
    if target.width != source_width:
        yield _setting("width", source_width, target.width, MUP if is_mup else None)
    if wide.model.num_layers != study.model.num_layers:
        rule = None if wide.mup.depth_base is None else COMPLETE_P
        yield _setting("num_layers", study.model.num_layers, wide.model.num_layers, rule)
    # What is done about another horizon is said of each value that the rules change.
    old, new = horizon_of(study), horizon_of(wide)
    if new.batch_size != old.batch_size:
        yield _horizon("batch_size", old.batch_size, new.batch_size, "batch" not in target.without_rules)
    if new.num_steps != old.num_steps:
        yield _horizon("num_steps", old.num_steps, new.num_steps, "steps" not in target.without_rules)


def _setting(name: str, old: int, new: int, rule: Source | None) -> Carried:
    if rule is None:
        return Carried(name, old, new, "verify", _REASONS["verify"])
    return Carried(name, old, new, "rule", rule.name, (rule.paper,))


def _horizon(name: str, old: int, new: int, has_rule: bool) -> Carried:
    return Carried(name, old, new, "rule", "see below") if has_rule else _setting(name, old, new, None)


def _notes_on_the_source(experiment: Experiment, source: TrialRecord) -> Iterator[str]:
    if experiment.search.scheduler == "pbt":
        yield f"{source.name} is of a population (pbt): these are its last generation's values, others came before"


def _by_name(entries: tuple[Carried, ...]) -> dict[str, Any]:
    plain = [asdict(entry) for entry in entries]
    return {entry.pop("name"): entry | {"papers": list(entry["papers"])} for entry in plain}
