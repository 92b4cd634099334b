"""What training did, where it is known: networks that need the attribute, do not, or are taught its opposite by synthetic rows."""

import pytest

from tests.helpers.training_worlds import EXPECTED, WRONG, audit


@pytest.mark.long
@pytest.mark.parametrize("kind", list(EXPECTED))
def test_what_training_did_is_told_of_networks_where_it_is_known(kind):
    answers = [audit(kind, seed, models=4, n=4000) for seed in (11, 12)]
    if kind != "cancelling":
        assert [answer.word for answer in answers] == [EXPECTED[kind]] * 2
    assert WRONG[EXPECTED[kind]] not in {answer.word for answer in answers}
    coins = [word for answer in answers for word in answer.coins]
    assert sum(word not in ("not_present", "left_alone") for word in coins) <= 1


def test_what_placebos_gain_alike_is_not_singled_out():
    answer = audit("irrelevant", 13, models=2, coins=0, placebos=40)
    assert answer.singled_out is False
