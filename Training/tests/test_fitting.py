"""The options that fit a data set of any size."""

import pytest

from kefu_training.train import fitting_average, fitting_epochs


@pytest.mark.parametrize(("examples", "batch", "epochs"), [(42_048, 64, 7), (2_956, 64, 22), (64, 64, 1000), (1, 64, 1000), (9_000, 64, 8)])
def test_every_data_set_gets_a_thousand_steps_and_seven_epochs(examples, batch, epochs):
    assert fitting_epochs(examples, batch) == epochs
    assert epochs * -(-examples // batch) >= 1000


def test_the_average_spans_a_fourteenth_of_all_steps():
    assert fitting_average(42_048, 64, 7) == pytest.approx(1 - 14 / 4599)
    assert fitting_average(2_956, 64, 22) == pytest.approx(1 - 14 / 1034)
    # Fewer steps than lie between two updates are no average.
    assert fitting_average(40, 4, 5) == 0
