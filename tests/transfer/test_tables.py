from rich.console import Console
from tuned_trial import make_plan

from raytag.transfer.tables import plan_footnotes, tabulate_plan
from raytag.transfer.target import Target


def shown(plan, capsys):
    Console(width=80).print(tabulate_plan(plan))
    return capsys.readouterr().out.splitlines()


def test_the_plan_shows_old_and_new_value_class_rule_and_paper(capsys):
    plan = make_plan(Target(256, batch_size=1024, num_steps=250))

    rows = {line.split()[0]: line.split(maxsplit=4)[1:] for line in shown(plan, capsys)[1:]}

    assert [text.strip() for text in rows["width"]] == ["32", "256", "rule", "muP [1]"]
    assert [text.strip() for text in rows["lr"]] == ["0.013", "0.026", "rule", "square-root rule [2]"]
    assert rows["beta2"][:3] == ["0.99", "0.96", "rule"]  # not searched
    assert [text.strip() for text in rows["dropout"]] == ["0.2", "0.05", "no", "the experiment's own value"]
    assert "warmup_fraction" not in rows
    assert [*plan_footnotes(plan)][:2] == [
        "[1] Yang et al., arXiv:2203.03466",
        "[2] Malladi et al., arXiv:2205.10287",
    ]


def line_of_the_unsearched(plan):
    (line,) = [line for line in plan_footnotes(plan) if line.startswith("Not searched")]
    return line


def test_what_is_neither_searched_nor_changed_is_told_in_one_line():
    line = line_of_the_unsearched(make_plan(Target(256, batch_size=1024)))

    assert line.startswith("Not searched, so the experiment's own values: beta1=0.9, beta2=0.99, eps=1e-08, ")
    assert "clip_norm=none, label_smoothing=0, " in line
    assert "dropout" not in line


def test_a_value_that_a_rule_changes_is_not_told_to_be_the_experiments():
    line = line_of_the_unsearched(make_plan(Target(256, num_steps=250)))

    assert not any(name in line for name in ("beta1", "beta2", "eps", "weight_decay"))


def test_a_momentum_near_one_keeps_its_digits(capsys):
    rows = {line.split()[0]: line.split()[1:3] for line in shown(make_plan(Target(256, num_steps=10**6)), capsys)[1:]}

    assert rows["num_steps"] == ["1,000", "1,000,000"]
    assert rows["beta1"] == ["0.9", "0.9999"]
    assert rows["beta2"] == ["0.99", "0.99999"]


def test_the_plan_fits_80_columns(capsys):
    assert max(map(len, shown(make_plan(Target(256, num_layers=8, batch_size=1024, num_steps=999)), capsys))) <= 80
