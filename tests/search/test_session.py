import pytest

from raytag.config.experiment import ResourcesConfig
from raytag.search.session import Cluster, share_resources


@pytest.mark.parametrize(
    ("wishes", "cluster", "expected"),
    [
        ({}, Cluster(2, 0, 1), (2, 1, 0)),
        ({"cpus_per_worker": 2}, Cluster(8, 0, 1), (4, 2, 0)),
        ({}, Cluster(16, 1, 1), (4, 1, 0.25)),
        ({}, Cluster(64, 8, 2), (32, 1, 0.25)),
        ({}, Cluster(2, 1, 1), (2, 1, 0.5)),
        ({"num_workers": 1}, Cluster(16, 1, 1), (1, 1, 1)),
        ({"num_workers": 3}, Cluster(16, 2, 1), (3, 1, 0.5)),
        ({"gpus_per_worker": 0.1}, Cluster(64, 1, 1), (10, 1, 0.1)),
        ({"gpus_per_worker": 0}, Cluster(16, 1, 1), (16, 1, 0)),
    ],
)
def test_workers_share_what_there_is(wishes, cluster, expected):
    share = share_resources(ResourcesConfig(**wishes), cluster, num_trials=1000)

    assert (share.num_workers, share.cpus, share.gpus) == expected
    assert share.num_workers * share.gpus <= cluster.gpus
    assert share.device == ("cuda" if share.gpus else "cpu")


def test_there_are_no_more_workers_than_trials():
    assert share_resources(ResourcesConfig(), Cluster(64, 0, 1), num_trials=3).num_workers == 3
