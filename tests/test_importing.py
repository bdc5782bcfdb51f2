"""The collector rests while modules are loaded, and not longer."""

import gc

import pytest

from raytag.importing import uncollected


@pytest.fixture(autouse=True)
def unfrozen():
    yield
    gc.unfreeze()


def test_nothing_is_collected_in_the_block():
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_not_looked_at_again():
    with uncollected():
        loaded = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= len(loaded)


def test_a_failed_import_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError), uncollected():
        import raytag.nowhere  # noqa: F401
    assert gc.isenabled()
