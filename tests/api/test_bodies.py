from __future__ import annotations

from typing import get_args

from models_api.api.bodies import OpenInferenceDatatype
from models_api.open_inference.datatypes import DATATYPES


def test_the_documented_datatypes_are_those_that_are_read() -> None:
    assert get_args(OpenInferenceDatatype) == tuple(DATATYPES)
