"""Models and decorators whose properties raise, most of them AttributeError."""

from __future__ import annotations

from typing import Any

from ml_base import MLModel, MLModelDecorator
from pydantic import BaseModel, create_model

from tests.fakes.models import Doubled, DoublingModel, Number


class OldFieldsDecorator(MLModelDecorator):
    """Was written for pydantic 1, whose fields had an `outer_type_`."""

    @property
    def input_schema(self) -> Any:
        """The wrapped model's fields, and a key."""
        fields = self._model.input_schema.model_fields
        given: Any = {name: (field.outer_type_, ...) for name, field in fields.items()}
        return create_model("Keyed", key=(str, ...), **given)


class MissingAttributeDecorator(MLModelDecorator):
    """Reads what nobody has set."""

    @property
    def output_schema(self) -> Any:
        """What `__init__` was to make."""
        return self.schema_that_nobody_made


class RaisingNameDecorator(MLModelDecorator):
    """Cannot say its name."""

    @property
    def qualified_name(self) -> str:
        """No name."""
        raise AttributeError("the registry of names is away")


class RaisingVersionDecorator(MLModelDecorator):
    """Fails in another way than by AttributeError."""

    @property
    def version(self) -> str:
        """No version."""
        raise LookupError("no such release")


class InheritingDecorator(OldFieldsDecorator):
    """Has the broken property from its base."""


class RenamingDecorator(MLModelDecorator):
    """Mends what is around: it has a version of its own."""

    version = "2.0.0"


class LateDecorator(MLModelDecorator):
    """Makes its schema in `__init__`, as it may."""

    def __init__(self, model: MLModel | None = None) -> None:
        super().__init__(model)
        assert model is not None
        schema: type[BaseModel] = model.output_schema
        self.__dict__["schema"] = create_model("Late", late=(bool, True), __base__=schema)

    @property
    def output_schema(self) -> Any:
        """The schema that `__init__` made."""
        return self.schema

    def predict(self, data: Number) -> Any:
        """Predict, and say that it is late."""
        prediction: Doubled = self._model.predict(data)
        return self.output_schema(value=prediction.value, late=True)


class DelegatingModel(DoublingModel):
    """Has a `__getattr__` that answers for whatever raises AttributeError."""

    def __getattr__(self, name: str) -> Any:
        return getattr(DoublingModel, name)

    @property
    def input_schema(self) -> Any:  # type: ignore[override]
        """No schema."""
        return Number.no_such_attribute  # type: ignore[attr-defined]


class BrokenVersionModel(DoublingModel):
    """A plain model whose version raises."""

    @property
    def version(self) -> str:  # type: ignore[override]
        """No version."""
        return Number.release  # type: ignore[attr-defined]
