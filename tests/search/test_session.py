import pytest

from raytag.config.experiment import ResourcesConfig, SearchConfig
from raytag.errors import RaytagError
from raytag.search.session import Cluster, ray_session, share_resources


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
        ({"num_workers": 1}, Cluster(2, 2, 2, 1, 1), (1, 1, 1)),
        ({"gpus_per_worker": 0}, Cluster(16, 1, 1), (16, 1, 0)),
    ],
)
def test_workers_share_what_there_is(wishes, cluster, expected):
    share = share_resources(ResourcesConfig(**wishes), cluster, most_workers=1000)

    assert (share.num_workers, share.cpus, share.gpus) == expected
    assert share.num_workers * share.gpus <= cluster.gpus
    assert share.device == ("cuda" if share.gpus else "cpu")


@pytest.mark.parametrize(
    ("cluster", "memory"),
    [(Cluster(16, 0, 1), 1 / 16), (Cluster(64, 0, 4), 1 / 16), (Cluster(16, 1, 1), 0.25), (Cluster(8, 8, 1), 1)],
)
def test_workers_share_the_memory_of_their_gpu_or_of_their_node(cluster, memory):
    assert share_resources(ResourcesConfig(), cluster, most_workers=1000).memory == memory


def test_there_are_no_more_workers_than_trials():
    assert share_resources(ResourcesConfig(), Cluster(64, 0, 1), most_workers=3).num_workers == 3


def test_a_population_keeps_one_worker_busy():
    assert SearchConfig(space="space.yaml").most_workers(10) == 10
    assert SearchConfig(space="space.yaml", scheduler="pbt", population=8).most_workers(10) == 2


@pytest.mark.parametrize(
    ("wishes", "cluster", "told"),
    [
        ({"cpus_per_worker": 4}, Cluster(2, 0, 1), "needs 4 CPUs, the largest node has 2. Give at most 2."),
        ({"cpus_per_worker": 4}, Cluster(6, 0, 3, 2, 0), "needs 4 CPUs, the largest node has 2. Give at most 2."),
        (
            {"gpus_per_worker": 0.5},
            Cluster(2, 0, 1),
            "needs 0.5 GPUs, the largest node has 0. Give 0, or",
        ),
        ({"gpus_per_worker": 2}, Cluster(8, 2, 2, 4, 1), "needs 2 GPUs, the largest node has 1. Give at most 1."),
        ({"gpus_per_worker": 1.5}, Cluster(8, 2, 1), "a share of one GPU or whole GPUs, not 1.5. Give 1"),
    ],
)
def test_a_worker_that_fits_nowhere_is_refused(wishes, cluster, told):
    with pytest.raises(RaytagError) as error:
        share_resources(ResourcesConfig(**wishes), cluster, most_workers=10)

    assert told in str(error.value)
    assert f"resources.{next(iter(wishes))}: " in str(error.value)


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:port", "http://127.0.0.1:8265"])
def test_an_address_that_is_none_is_told_in_one_line(address):
    with (
        pytest.raises(RaytagError, match=rf"^--address {address}: .*10\.0\.0\.1:6379"),
        ray_session(ResourcesConfig(), address),
    ):
        pass
