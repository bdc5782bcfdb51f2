from unittest.mock import Mock

import pytest

from raytag.errors import StudyError
from raytag.search import remote
from raytag.search.folder import exclusive
from raytag.search.remote import OwnerProcess, RemoteOwner


def test_the_owner_hears_that_a_trial_has_diverged(monkeypatch):
    monkeypatch.setattr(remote, "fetch", lambda reference: reference)
    actor = Mock()
    RemoteOwner(actor).fail("a", "w32-0000", "the loss became nan", diverged=True)

    actor.fail.remote.assert_called_once_with("a", "w32-0000", "the loss became nan", "", diverged=True)


def test_an_owner_that_may_not_write_says_so_in_a_call(folder, make_experiment, space, monkeypatch):
    monkeypatch.setattr("raytag.search.owner.LOCK_SECONDS", 0)
    with exclusive(folder.owner_lock, "held by the test"):
        owner = OwnerProcess(folder, make_experiment(), space, 1)  # Ray keeps only the text of an error raised here

        with pytest.raises(StudyError, match="another search writes here"):
            owner.open()
