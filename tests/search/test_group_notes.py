def test_the_lowest_number_of_slots_that_fit_stays(open_study):
    for slots in (4, 1, 2):
        open_study().groups.limit_slots(32, "cpu", slots)

    assert open_study().groups.slot_limit(32, "cpu") == 1
    assert open_study().groups.slot_limit(64, "cpu") is None
    assert open_study().groups.slot_limit(32, "0.5 of a GPU") is None


def test_the_first_choice_of_an_executor_stays(open_study):
    first, second = ({"width": 32, "device": "cpu", "slots": 4, "reason": reason} for reason in ("first", "second"))
    other = {"width": 64, "device": "cpu", "slots": 4, "reason": "third"}

    assert [open_study().groups.keep_choice("4 slots", choice) for choice in (first, second, other)] == [
        first,
        first,
        other,
    ]
    assert open_study().groups.choices() == [first, other]
    assert open_study().groups.choice(32, "4 slots") == first
    assert open_study().groups.choice(32, "8 slots") is None
