"""An experiment and a search space that are right, for tests to put one mistake into."""

from __future__ import annotations

import pytest

EXPERIMENT = """\
name: tiny
data:
  train: jets/pp_output_train.h5
  val: jets/pp_output_val.h5
  norm_dict: jets/norm_dict.yaml
  jet_variables: [pt_btagJes, eta_btagJes]
  num_train_jets: 1000
model:
  num_layers: 2
mup:
  base_width: 32
training:
  num_steps: 100
  batch_size: 64
  evaluate_every: 10
hyperparameters:
  lr: 1e-3
search:
  space: space.yaml
  widths: [32, 64]
  first_rung: 20
"""

SPACE = """\
lr: {distribution: log_uniform, low: 1e-4, high: 1e-2, transfer: yes}
dropout:
  distribution: uniform
  low: 0
  high: 0.3
  transfer: no
beta1: {distribution: categorical, choices: [0.8, 0.9], transfer: yes}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, jets):
    """Working directory with ``experiment.yaml``, ``space.yaml`` and ``jets/``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "jets").symlink_to(jets)
    return tmp_path


@pytest.fixture
def edit(folder):
    """Replace one piece of text in a file of the folder."""

    def replace(file, old, new):
        text = (folder / file).read_text()
        assert text.count(old) == 1, f"{old!r} is in {file} {text.count(old)} times"
        (folder / file).write_text(text.replace(old, new))

    return replace
