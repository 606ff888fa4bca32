"""Columns become what libraries compute with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models_api.runtimes.arrays import by_label, matrix

FLOATS, WHOLE, TRUTHS = np.array([0.5, np.nan]), np.array([1, 2]), np.array([True, False])


@pytest.mark.parametrize(
    "columns",
    [
        [FLOATS],
        [FLOATS, FLOATS + 1],
        [WHOLE, TRUTHS],
        [FLOATS, WHOLE, TRUTHS],
        [FLOATS[:1], WHOLE[:1]],
        [np.array([FLOATS, FLOATS]), WHOLE],
        [np.array(["a", None], object), WHOLE],
    ],
)
def test_columns_become_one_array_of_the_type_that_holds_them_all_row_after_row(
    columns: list[Any],
) -> None:
    found, expected = matrix(iter(columns)), np.column_stack(columns)
    assert found.dtype == expected.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


def test_one_column_of_lists_is_the_array_as_it_is() -> None:
    table = np.array([FLOATS, FLOATS])
    assert matrix([table]) is table


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        ((0, 1), ["0", "1"]),
        ((False, True), ["false", "true"]),
        ((0.0, 1.0), ["0.0", "1.0"]),
        (("0", "1"), ["0", "1"]),
    ],
)
def test_labels_that_are_equal_have_the_keys_of_their_own_type(
    labels: tuple[Any, ...], keys: list[str]
) -> None:
    expected = [dict(zip(keys, [0.25, 0.75], strict=True))]
    assert by_label(labels, np.array([[0.25, 0.75]])) == expected
