import pytest

from raytag.config.experiment import ResourcesConfig
from raytag.errors import StudyError
from raytag.search.session import Cluster, Share
from raytag.transfer.train import place_workers


@pytest.mark.parametrize(
    ("gpus", "num_workers", "gpus_each"),
    [(0, 2, 0), (1, 1, 1), (2, 2, 1), (4, 2, 1), (1, 2, 0)],
)
def test_workers_get_a_gpu_each_if_there_are_enough(gpus, num_workers, gpus_each):
    cluster = Cluster(cpus=8, gpus=gpus, num_nodes=1)

    assert place_workers(ResourcesConfig(), cluster, num_workers) == Share(num_workers, 1.0, gpus_each)


def test_gpus_can_be_declined():
    resources = ResourcesConfig(gpus_per_worker=0)

    assert place_workers(resources, Cluster(8, 4, 1), 2).gpus == 0


def test_more_workers_than_cores_are_refused():
    with pytest.raises(StudyError, match=r"--workers 3: they need 6 CPUs, the cluster has 4\."):
        place_workers(ResourcesConfig(cpus_per_worker=2), Cluster(4, 0, 1), 3)
