"""A model of which everything that a page shows is long and has no spaces."""

from __future__ import annotations

from ml_base import MLModel
from pydantic import BaseModel, Field

ADDRESS = f"https://models.test/{'a/very/long/address/' * 5}"


class WordyInput(BaseModel):
    a_field_whose_name_is_long_because_it_came_out_of_a_data_warehouse: float = Field(
        description=f"See {ADDRESS} or a_{'very_' * 20}long_identifier.", gt=-1e15, lt=1e15
    )
    nested: list[dict[str, list[int]]] = Field(default_factory=list)


class WordyOutput(BaseModel):
    a_result_whose_name_is_long_because_it_goes_into_a_data_warehouse: str


class WordyModel(MLModel):
    """Says the same long word each time."""

    display_name = "TheUnbreakableDisplayNameOfAModelThatSomebodyMadeInAHurry"
    qualified_name = "a_qualified_name_that_is_really_quite_long_for_what_it_is_and_has_no_end"
    description = f"Predicts {ADDRESS} and so on."
    version = "1.0.0"
    input_schema = WordyInput
    output_schema = WordyOutput

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: WordyInput) -> WordyOutput:
        """Say the word."""
        return WordyOutput(
            a_result_whose_name_is_long_because_it_goes_into_a_data_warehouse="word" * 40
        )
