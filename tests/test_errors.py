import pickle
from pathlib import Path

import pytest

from raytag import errors
from raytag.errors import ConfigError, Problem, ProblemsError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def example_of(cls):
    if issubclass(cls, ProblemsError):
        return cls([Problem("model.width", "not a number", Path("a.yaml"), 3), Problem("tracks", "missing")])
    return cls("w32-0007: no such trial.")


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_the_way_between_processes(cls):
    error = example_of(cls)
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (cls, str(error), vars(error))


def test_problems_are_told_one_a_line():
    assert str(example_of(ConfigError)) == "a.yaml:3 model.width: not a number\ntracks: missing"
