"""The cluster file is checked as `ray up` would check it."""

from pathlib import Path

import jsonschema
import pytest
import yaml

CLUSTER_FILE = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return yaml.safe_load(CLUSTER_FILE.read_text())


def validate(cluster):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)  # in this order, as `ray up` does
    validate_config(prepared)
    return prepared


def test_cluster_file_fits_rays_schema(cluster):
    prepared = validate(cluster)

    node_type = prepared["available_node_types"]["local.cluster.node"]
    assert node_type["min_workers"] == node_type["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_a_key_ray_does_not_know_is_refused(cluster):
    with pytest.raises(jsonschema.ValidationError, match="head_adress"):
        validate({**cluster, "head_adress": "192.0.2.1"})


def test_the_head_starts_every_worker(cluster):
    start = cluster["head_start_ray_commands"][-1]

    assert "RAY_enable_autoscaler_v2=0" in start
    assert "--autoscaling-config" in start
