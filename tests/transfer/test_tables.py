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


def test_a_momentum_near_one_keeps_its_digits(capsys):
    rows = {line.split()[0]: line.split()[1:3] for line in shown(make_plan(Target(256, num_steps=10**6)), capsys)[1:]}

    assert rows["num_steps"] == ["1,000", "1,000,000"]
    assert rows["beta1"] == ["0.9", "0.9999"]
    assert rows["beta2"] == ["0.99", "0.99999"]


def test_the_plan_fits_80_columns(capsys):
    assert max(map(len, shown(make_plan(Target(256, num_layers=8, batch_size=1024, num_steps=999)), capsys))) <= 80
