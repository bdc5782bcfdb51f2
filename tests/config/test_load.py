"""Every mistake in an experiment or a search space is reported, all at once, in words that say what to do."""

from pathlib import Path

import pytest

from raytag.config.load import load_experiment, load_experiments, load_space
from raytag.config.space import Categorical, LogUniform, Uniform
from raytag.errors import ConfigError

KNOWN_HYPERPARAMETERS = (
    "lr, weight_decay, beta1, beta2, eps, warmup_fraction, decay_fraction, clip_norm, dropout, label_smoothing, "
    "init_scale, alpha_output, alpha_attention, loss_weight_jet_classification, loss_weight_track_origin, "
    "loss_weight_vertexing"
)


def problems_of(load, *arguments):
    with pytest.raises(ConfigError) as caught:
        load(*arguments)
    return str(caught.value).splitlines()


def test_a_right_experiment_is_typed_with_absolute_paths(folder):
    experiment = load_experiment(Path("experiment.yaml"))

    assert experiment.hyperparameters.lr == 1e-3
    assert experiment.search.widths == (32, 64)
    assert experiment.data.train == folder / "jets" / "pp_output_train.h5"
    assert experiment.search.space == folder / "space.yaml"


def test_a_right_space_keeps_its_order(folder):
    space = load_space(folder / "space.yaml")

    assert list(space.root) == ["lr", "dropout", "beta1"]
    assert space.root["lr"] == LogUniform(distribution="log_uniform", low=1e-4, high=1e-2, transfer="yes")
    assert space.root["dropout"] == Uniform(distribution="uniform", low=0, high=0.3, transfer="no")
    assert space.root["beta1"] == Categorical(distribution="categorical", choices=(0.8, 0.9), transfer="yes")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # keys
        ("num_layers: 2", "num_layer: 2", ":9 model.num_layer: unknown key. Did you mean num_layers?"),
        ("\nmup:", "\nmpu:", ":10 mpu: unknown key. Did you mean mup?"),
        ("name: tiny", "name: tiny\nlr: 1", ":2 lr: unknown key. Did you mean hyperparameters.lr?"),
        (
            "  base_width",
            "  num_steps: 5\n  base_width",
            ":11 mup.num_steps: unknown key. Did you mean training.num_steps?",
        ),
        (
            "base_width: 32",
            "gpu: 1",
            ":11 mup.gpu: unknown key. The keys here: parametrisation, base_width, base_num_layers, skip_check.",
        ),
        (
            "  num_layers: 2",
            "  num_layers: 2\n  num_layers: 3",
            ":9 model.num_layers: given again on line 10. Keep one.",
        ),
        # what is missing
        (
            "  val: jets/pp_output_val.h5\n",
            "",
            ":2 data.val: missing. Expected a path: h5 file of validation jets; the search's objective comes from it.",
        ),
        (
            "  space: space.yaml\n",
            "",
            ":18 search.space: missing. Expected a path: YAML file of the search space.",
        ),
        ("name: tiny\n", "", " name: missing. Expected text: Name of the study and of its folder."),
        # kinds
        ("num_layers: 2", "num_layers: two", ":9 model.num_layers: expected an integer of at least 1, found 'two'."),
        ("num_layers: 2", "num_layers: '2'", ":9 model.num_layers: expected an integer of at least 1, found '2'."),
        ("num_layers: 2", "num_layers: 2.0", ":9 model.num_layers: expected an integer of at least 1, found 2.0."),
        ("num_layers: 2", "num_layers: true", ":9 model.num_layers: expected an integer of at least 1, found true."),
        ("num_layers: 2", "num_layers: [2]", ":9 model.num_layers: expected an integer of at least 1, found a list."),
        (
            "num_layers: 2",
            "num_layers: {a: 2}",
            ":9 model.num_layers: expected an integer of at least 1, found a section.",
        ),
        ("num_layers: 2", "num_layers:", ":9 model.num_layers: expected an integer of at least 1, found nothing."),
        ("base_width: 32", "skip_check: yes", ":11 mup.skip_check: expected true or false, found 'yes'."),
        ("base_width: 32", "skip_check: 1", ":11 mup.skip_check: expected true or false, found 1."),
        ("name: tiny", "name: 5", ":1 name: expected text, found 5."),
        ("[32, 64]", "32", ":20 search.widths: expected a list, found 32."),
        ("[32, 64]", "[32, a]", ":20 search.widths: expected an integer of at least 8, found 'a'."),
        ("[32, 64]", "\n  - 32\n  - a", ":22 search.widths: expected an integer of at least 8, found 'a'."),
        ("  num_layers: 2", "", ":8 model: expected a section, found nothing."),
        ("jets/norm_dict.yaml", "5", ":5 data.norm_dict: expected a path, found 5."),
        # ranges
        ("lr: 1e-3", "lr: abc", ":17 hyperparameters.lr: expected a number above 0, found 'abc'."),
        ("lr: 1e-3", "lr: 0", ":17 hyperparameters.lr: expected a number above 0, found 0."),
        ("lr: 1e-3", "lr: .inf", ":17 hyperparameters.lr: expected a finite number, found inf."),
        ("lr: 1e-3", "lr: .nan", ":17 hyperparameters.lr: expected a finite number, found nan."),
        ("lr: 1e-3", "beta1: 1", ":17 hyperparameters.beta1: expected a number of at least 0 and below 1, found 1."),
        ("[32, 64]", "[]", ":20 search.widths: expected at least 1 entry, found 0."),
        ("[32, 64]", "[64, 32]", ":20 search.widths: widths must rise and not repeat."),
        ("num_steps: 100", "num_steps: 5", ":12 training: evaluate_every (10) exceeds num_steps (5)."),
        (
            "name: tiny",
            "name: my study",
            ":1 name: expected a letter or digit, then letters, digits, '.', '_', '-'; found 'my study'.",
        ),
        # choices
        (
            "base_width: 32",
            "parametrisation: mpu",
            ":11 mup.parametrisation: expected mup or standard, found 'mpu'. Did you mean mup?",
        ),
        (
            "num_layers: 2",
            "tasks: [jet_classification, vertex]",
            ":9 model.tasks: expected jet_classification, track_origin or vertexing, found 'vertex'."
            " Did you mean vertexing?",
        ),
        (
            "num_layers: 2",
            "tasks: [vertexing]",
            ":9 model.tasks: expected jet_classification first, then other tasks, each once.",
        ),
        # files
        (
            "jets/pp_output_val.h5",
            "jets/pp_ouput_val.h5",
            ":4 data.val: no such file: jets/pp_ouput_val.h5. Did you mean pp_output_val.h5?",
        ),
        ("jets/pp_output_val.h5", "nowhere/val.h5", ":4 data.val: no such file: nowhere/val.h5."),
        ("jets/pp_output_val.h5", "jets", ":4 data.val: jets is a folder, not a file."),
        (
            "jets/pp_output_val.h5",
            "${RAYTAG_UNSET}/val.h5",
            ":4 data.val: the environment variable RAYTAG_UNSET is not set.",
        ),
        (
            "space: space.yaml",
            "space: spcae.yaml",
            ":19 search.space: no such file: spcae.yaml. Did you mean space.yaml?",
        ),
        # inputs
        (
            "eta_btagJes",
            "HadronConeExclTruthLabelPt",
            ":6 data.jet_variables: HadronConeExclTruthLabelPt is known only to the simulation:"
            " truth never enters the inputs.",
        ),
        (
            "eta_btagJes",
            "flavour_label",
            ":6 data.jet_variables: flavour_label is known only to the simulation: truth never enters the inputs.",
        ),
        (
            "eta_btagJes",
            "eventNumber",
            ":6 data.jet_variables: eventNumber decides the split of its jets: it is never an input.",
        ),
        (
            "eta_btagJes",
            "PartonTruthLabelID",  # not of our layout, but plainly truth
            ":6 data.jet_variables: PartonTruthLabelID is known only to the simulation: truth never enters the inputs.",
        ),
        (
            "  num_train_jets",
            "  track_variables:\n  - d0\n  - ftagTruthOriginLabel\n  num_train_jets",
            ":9 data.track_variables: ftagTruthOriginLabel is known only to the simulation:"
            " truth never enters the inputs.",
        ),
        (
            "  num_train_jets",
            "  track_variables: [d0, valid]\n  num_train_jets",
            ":7 data.track_variables: valid marks the filled track slots: it is never an input.",
        ),
        ("eta_btagJes", "pt_btagJes", ":6 data.jet_variables: pt_btagJes is listed twice."),
        # sizes that must agree
        (
            "[32, 64]",
            "[32, 100]",
            ":20 search.widths: width 100 is not a multiple of num_heads 8. Nearest widths: 96, 104.",
        ),
        (
            "[32, 64]",
            "[12, 32]",
            ":20 search.widths: width 12 is not a multiple of num_heads 8. Nearest widths: 8, 16.",
        ),
        ("base_width: 32", "base_width: 4", ":11 mup.base_width: expected an integer of at least 8, found 4."),
        ("[32, 64]", "[-8, 32]", ":20 search.widths: expected an integer of at least 8, found -8."),
        (
            "base_width: 32",
            "base_width: 20",
            ":11 mup.base_width: width 20 is not a multiple of num_heads 8. Nearest widths: 16, 24.",
        ),
        ("batch_size: 64", "batch_size: 2000", ":14 training.batch_size: 2000 jets exceed data.num_train_jets (1000)."),
        (
            "first_rung: 20",
            "first_rung: 25",
            ":21 search.first_rung: 25 is not a multiple of training.evaluate_every (10). Nearest: 20, 30.",
        ),
        (
            "first_rung: 20",
            "first_rung: 5",
            ":21 search.first_rung: 5 is not a multiple of training.evaluate_every (10). Nearest: 10.",
        ),
        ("first_rung: 20", "first_rung: 200", ":21 search.first_rung: 200 steps exceed training.num_steps (100)."),
        (
            "first_rung: 20",
            "replicas: 2\n  folds: 3\nresources:\n  slots: 4",
            ":24 resources.slots: 4 slots cannot hold the 6 trainings of a trial (search.replicas 2 x search.folds 3), "
            "which advance in step. Give at least that many.",
        ),
    ],
)
def test_a_mistake_in_an_experiment_is_reported(edit, old, new, expected):
    edit("experiment.yaml", old, new)

    assert problems_of(load_experiment, Path("experiment.yaml")) == [f"experiment.yaml{expected}"]


def test_a_width_must_divide_into_heads_of_a_fixed_width(edit):
    edit("experiment.yaml", "num_layers: 2", "num_layers: 2\n  num_heads: 5\n  head_width: 12")
    edit("experiment.yaml", "base_width: 32", "base_width: 24")
    edit("experiment.yaml", "[32, 64]", "[48, 64]")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        "experiment.yaml:22 search.widths: width 64 is not a multiple of head_width 12. Nearest widths: 48, 72."
    ]


def test_a_population_must_divide_trials_and_steps_and_fit_into_the_slots(edit):
    edit("experiment.yaml", "first_rung: 20", "first_rung: 20\n  scheduler: pbt\n  population: 7\n  perturb_every: 15")

    text = "\n".join(problems_of(load_experiment, Path("experiment.yaml"), ["resources.slots=4"]))

    assert "4 slots cannot hold a population of 7 (search.population), which advances in step." in text
    assert "search.trials_per_width: 20 trials make no whole populations of 7. Nearest: 14, 21." in text
    assert "search.perturb_every: 15 is not a multiple of training.evaluate_every (10). Nearest: 10, 20." in text
    assert "search.first_rung: no effect: pbt stops no trial." in text


@pytest.mark.parametrize("setting", ["search.perturb_every=100", "training.evaluate_every=100"])
def test_a_population_needs_a_second_generation(edit, setting):
    edit("experiment.yaml", "first_rung: 20", "scheduler: pbt\n  population: 5")

    assert problems_of(load_experiment, Path("experiment.yaml"), [setting]) == [
        f"override {setting}: no trial is ever replaced: the first generation of pbt lasts 100 of training.num_steps "
        "(100) steps. Give fewer."
    ]


def test_a_width_must_also_divide_into_the_task_heads(edit):
    edit("experiment.yaml", "num_layers: 2", "num_heads: 4")
    edit("experiment.yaml", "[32, 64]", "[32, 100]")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        "experiment.yaml:20 search.widths: width 100 is not a multiple of 8, which divides the task heads."
        " Nearest widths: 96, 104."
    ]


def test_widths_that_suit_heads_of_another_number_are_proposed(edit):
    edit("experiment.yaml", "num_layers: 2", "num_heads: 6")
    edit("experiment.yaml", "[32, 64]", "[48, 64]")
    edit("experiment.yaml", "base_width: 32", "base_width: 24")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        "experiment.yaml:20 search.widths: width 64 is not a multiple of num_heads 6. Nearest widths: 48, 72."
    ]


LR = "lr: {distribution: log_uniform, low: 1e-4, high: 1e-2, transfer: yes}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (LR, f"{LR}\nwieght_decay: {{distribution: uniform, low: 0, high: 1, transfer: rule}}",
         ":2 wieght_decay: unknown hyperparameter. Did you mean weight_decay?"),
        (LR, f"{LR}\nmomentum: {{distribution: uniform, low: 0, high: 1, transfer: yes}}",
         f":2 momentum: unknown hyperparameter. The hyperparameters: {KNOWN_HYPERPARAMETERS}."),
        (LR, f"{LR}\nbatch_size: {{distribution: categorical, choices: [64, 128], transfer: rule}}",
         ":2 batch_size: cannot be searched: all trials share training.batch_size."),
        (LR, f"{LR}\nlr: {{distribution: uniform, low: 1, high: 2, transfer: yes}}",
         ":1 lr: given again on line 2. Keep one."),
        (LR, "lr: 1e-3", ":1 lr: expected a section such as "
         "{distribution: log_uniform, low: 1e-4, high: 1e-2, transfer: yes}, found 0.001."),
        ("log_uniform", "loguniform", ":1 lr.distribution: expected uniform, log_uniform or categorical, "
         "found 'loguniform'. Did you mean log_uniform?"),
        ("distribution: log_uniform, ", "",
         ":1 lr.distribution: missing. Expected uniform, log_uniform or categorical."),
        (", transfer: yes}\ndropout", "}\ndropout",
         ":1 lr.transfer: missing. Expected yes, rule, verify or no: What happens to the value when the model widens."),
        ("transfer: yes}\ndropout", "transfer: ja}\ndropout",
         ":1 lr.transfer: expected yes, rule, verify or no, found 'ja'."),
        ("low: 1e-4", "low: 1e-1", ":1 lr: low (0.1) must be below high (0.01)."),
        ("low: 1e-4", "low: 0", ":1 lr.low: expected a number above 0, found 0."),
        ("high: 1e-2", "high: .inf", ":1 lr.high: expected a finite number, found inf."),
        ("low: 1e-4", "low: small", ":1 lr.low: expected a number above 0, found 'small'."),
        ("low: 1e-4", "lwo: 1, low: 1e-4", ":1 lr.lwo: unknown key. Did you mean low?"),
        ("high: 0.3", "high: 1", ":5 dropout.high: expected a number of at least 0 and below 1, found 1."),
        ("low: 0", "low: -0.1", ":4 dropout.low: expected a number of at least 0 and below 1, found -0.1."),
        ("[0.8, 0.9]", "[0.9, 1.5]", ":7 beta1.choices: expected a number of at least 0 and below 1, found 1.5."),
        ("[0.8, 0.9]", "[0.9]", ":7 beta1.choices: expected at least 2 entries, found 1."),
        ("[0.8, 0.9]", "[0.9, 0.9]", ":7 beta1.choices: expected choices that differ."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_space_is_reported_with_the_experiment(edit, old, new, expected):
    edit("space.yaml", old, new)

    assert problems_of(load_experiment, Path("experiment.yaml")) == [f"space.yaml{expected}"]
    assert problems_of(load_space, Path("space.yaml")) == [f"space.yaml{expected}"]


def test_an_empty_space_is_refused(folder):
    (folder / "space.yaml").write_text("{}\n")

    assert problems_of(load_space, Path("space.yaml")) == [
        "space.yaml: the space is empty. Name at least one hyperparameter, for example lr."
    ]


def test_the_loss_weight_of_a_task_that_is_not_trained_has_no_effect(edit):
    edit("experiment.yaml", "num_layers: 2", "tasks: [jet_classification, track_origin]")
    edit("space.yaml", "dropout:", "loss_weight_vertexing:")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        "space.yaml:2 loss_weight_vertexing: no effect: model.tasks does not train vertexing."
        " Train it, or delete this entry."
    ]


@pytest.mark.parametrize(
    ("training", "name"),
    [
        ("optimizer: lion", "eps"),
        ("optimizer: sgd", "eps"),
        ("optimizer: sgd", "beta2"),
        ("schedule: constant", "warmup_fraction"),
        ("schedule: one_cycle", "decay_fraction"),
        ("schedule: warmup_cosine", "decay_fraction"),
        ("schedule: cosine_restarts", "decay_fraction"),
        ("schedule: constant", "decay_fraction"),
    ],
)
def test_a_hyperparameter_that_the_training_has_not_has_no_effect(edit, training, name):
    edit("experiment.yaml", "num_steps: 100", f"num_steps: 100\n  {training}")
    edit("space.yaml", "dropout:", f"{name}:")
    edit("space.yaml", "low: 0\n", "low: 0.1\n")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        f"space.yaml:2 {name}: no effect: training.{training.replace(':', '')} has no {name}. Delete this entry."
    ]


@pytest.mark.parametrize(
    ("training", "name"),
    [
        ("optimizer: muon", "eps"),
        ("optimizer: muon", "beta2"),
        ("optimizer: lion", "beta2"),
        ("schedule: warmup_stable_decay", "decay_fraction"),
        ("schedule: cosine_restarts", "warmup_fraction"),
    ],
)
def test_a_hyperparameter_that_the_training_has_can_be_searched(edit, training, name):
    edit("experiment.yaml", "num_steps: 100", f"num_steps: 100\n  {training}")
    edit("space.yaml", "dropout:", f"{name}:")
    edit("space.yaml", "low: 0\n", "low: 0.1\n")

    assert name in load_space(load_experiment(Path("experiment.yaml")).search.space).root


def test_all_mistakes_of_both_files_are_reported_at_once(edit):
    edit("experiment.yaml", "  val: jets/pp_output_val.h5\n", "")  # data cannot be built without it,
    edit("experiment.yaml", "[32, 64]", "[32, 100]")  # yet the widths are checked
    edit("experiment.yaml", "num_layers: 2", "num_layer: 2")
    edit("experiment.yaml", "lr: 1e-3", "lr: -1\n  lr: -2")
    edit("space.yaml", "low: 1e-4", "low: 1")
    edit("space.yaml", "high: 0.3", "high: 3")

    assert problems_of(load_experiment, Path("experiment.yaml")) == [
        "experiment.yaml:2 data.val: missing."
        " Expected a path: h5 file of validation jets; the search's objective comes from it.",
        "experiment.yaml:8 model.num_layer: unknown key. Did you mean num_layers?",
        "experiment.yaml:16 hyperparameters.lr: given again on line 17. Keep one.",
        "experiment.yaml:16 hyperparameters.lr: expected a number above 0, found -1.",
        "experiment.yaml:20 search.widths: width 100 is not a multiple of num_heads 8. Nearest widths: 96, 104.",
        "space.yaml:1 lr: low (1) must be below high (0.01).",
        "space.yaml:5 dropout.high: expected a number of at least 0 and below 1, found 3.",
    ]


def test_paths_expand_environment_variables_and_start_at_the_experiments_folder(folder, edit, monkeypatch):
    monkeypatch.setenv("RAYTAG_JETS", str(folder / "jets"))
    edit("experiment.yaml", "jets/pp_output_val.h5", "${RAYTAG_JETS}/pp_output_val.h5")
    monkeypatch.chdir("/")

    experiment = load_experiment(folder / "experiment.yaml")

    assert experiment.data.val == folder / "jets" / "pp_output_val.h5"
    assert experiment.data.train == folder / "jets" / "pp_output_train.h5"


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parents[2] / "search_spaces").glob("*")))
def test_a_committed_space_is_right(name):
    assert load_space(Path(__file__).parents[2] / "search_spaces" / name).root


def test_the_smoke_experiment_is_right():
    assert load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.yaml").search.widths == (32, 64)


@pytest.mark.parametrize(
    ("name", "widths"),
    [("gn2_width.yaml", (32, 64, 128)), ("gn2_replicas.yaml", (32,)), ("gn2_population.yaml", (64,))],
)
def test_an_experiment_on_simulated_jets_lacks_only_its_data(tmp_path, name, widths):
    data = [f"data.{key}={tmp_path}/{key}.h5" for key in ("train", "val", "test", "norm_dict", "class_dict")]
    for key in data:
        Path(key.partition("=")[2]).touch()

    experiment = load_experiment(Path(__file__).parents[2] / "experiments" / name, data)

    assert experiment.search.widths == widths


def test_the_grid_of_the_scaling_law_lacks_only_its_data(tmp_path):
    data = [f"data.{key}={tmp_path}/{key}.h5" for key in ("train", "val", "test", "norm_dict", "class_dict")]
    for key in data:
        Path(key.partition("=")[2]).touch()

    experiments = load_experiments(Path(__file__).parents[2] / "experiments" / "scaling_law.yaml", data)

    assert len(experiments) == 8
    assert {experiment.search.widths for experiment in experiments} == {(32, 48, 64, 96, 128)}
