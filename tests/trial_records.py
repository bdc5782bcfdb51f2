"""Records of trials that never ran."""

from statistics import fmean

from raytag.config.hyperparameters import Hyperparameters
from raytag.records import OBJECTIVE, OBJECTIVE_STDERR, TrialRecord, TrialState


def make_record(width=32, number=0, **fields):
    """Return the record of a completed trial that reported nothing; keywords replace its fields."""
    searched = fields.setdefault("searched", {})
    defaults = {
        "name": f"w{width}-{number:04d}",
        "seed": 1,
        "state": TrialState.COMPLETE,
        "hyperparameters": Hyperparameters(**searched),
        "history": {},
    }
    return TrialRecord(width=width, number=number, **(defaults | fields))


def make_matrix(*rows, objective=None, stderr=0.01, **fields):
    """Return the record of a trial with these objectives of its members at step 100, a row per replica."""
    members = [value for row in rows for value in row]
    reported = {OBJECTIVE: fmean(members) if objective is None else objective, OBJECTIVE_STDERR: stderr}
    return make_record(
        history={100: reported},
        members={100: tuple({OBJECTIVE: value} for value in members)} if len(members) > 1 else {},
        num_folds=len(rows[0]),
        **fields,
    )
