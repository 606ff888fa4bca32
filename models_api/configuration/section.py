"""What all sections of the configuration have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

IN_OWN_WORDS = "in_own_words"
"""Type of errors that say all there is to say; the context has a `hint`."""
SECTION = ConfigDict(
    extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True
)
"""How pydantic is to take the class of a section, whose fields are its keys."""


def fields_by_key(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by their keys; some keys are no names for a field."""
    return {field.alias or name: field for name, field in section.model_fields.items()}
