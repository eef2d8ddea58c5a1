"""The pointing game and the mass in a region, on maps a person can check."""

import numpy as np
import pytest

from applications.captioning import pointing
from applications.captioning.pointing import Looked

MAP = np.array([[0.1, 0.2, 0.0], [0.4, 0.2, 0.1]])  # 2 rows, 3 columns
LOWER_LEFT = (0.5, 0.0, 1.0, 1 / 3)


def test_a_hit_is_the_largest_weight_inside_a_box():
    assert pointing.pointing_game([Looked(MAP, [LOWER_LEFT])]) == 1.0
    assert pointing.pointing_game([Looked(MAP, [(0.0, 0.0, 0.5, 1.0)])]) == 0.0
    both = [Looked(MAP, [LOWER_LEFT]), Looked(MAP, [(0.0, 0.4, 1.0, 1.0)])]
    assert pointing.pointing_game(both) == 0.5


def test_a_place_is_where_its_middle_is():
    assert pointing.pointing_game([Looked(MAP, [(0.6, 0.0, 0.8, 0.2)])]) == 1.0
    assert pointing.pointing_game([Looked(MAP, [(0.8, 0.0, 1.0, 0.3)])]) == 0.0


def test_any_of_several_boxes_will_do():
    assert pointing.pointing_game([Looked(MAP, [(0.0, 0.0, 0.4, 0.3), LOWER_LEFT])]) == 1.0


def test_the_mass_in_a_box_is_shared_by_area():
    # Half of the lower left place, and a quarter of the lower middle one.
    found = pointing.mass_in_region([Looked(MAP, [(0.75, 0.0, 1.0, 0.5)])])
    assert found == pytest.approx(0.4 * 0.5 + 0.2 * 0.25)


def test_boxes_that_overlap_count_once():
    found = pointing.mass_in_region([Looked(MAP, [LOWER_LEFT, LOWER_LEFT])])
    assert found == pytest.approx(0.4)


def test_the_baselines_know_nothing_of_the_picture():
    looked = [Looked(MAP, [(0.0, 0.0, 0.5, 2 / 3)])]
    assert pointing.mass_in_region(pointing.uniform(looked)) == pytest.approx(1 / 3)
    assert pointing.pointing_game(pointing.uniform(looked)) == pytest.approx(2 / 6)
    # The middle of 2 rows and 3 columns: two places, of which one is in the box.
    assert pointing.mass_in_region(pointing.central(looked)) == pytest.approx(0.5)
    assert pointing.pointing_game(pointing.central(looked)) == pytest.approx(0.5)


def test_without_a_region_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match="a word with a region. Received: none"):
        pointing.pointing_game([])
