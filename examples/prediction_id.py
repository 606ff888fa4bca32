"""A decorator that changes the schemas of the model it wraps."""

from functools import cache
from uuid import UUID, uuid4

from ml_base import MLModelDecorator
from pydantic import BaseModel, Field, create_model

FIELD = "prediction_id"


class PredictionIDDecorator(MLModelDecorator):
    """Gives every prediction an id, by which to match it with its outcome later.

    The client may send an id of its own; otherwise one is made. The wrapped model's schemas must
    be JSON objects (no root models) without a ``prediction_id`` of their own.

    The schemas are properties that read nothing but the wrapped model's schemas, because a service
    may ask for them before it runs any ``__init__``.
    """

    @property
    def input_schema(self) -> type[BaseModel]:
        """The wrapped model's input schema and an optional ``prediction_id``."""
        return _with_optional_id(self._model.input_schema)

    @property
    def output_schema(self) -> type[BaseModel]:
        """The wrapped model's output schema and a ``prediction_id``."""
        return _with_id(self._model.output_schema)

    def predict(self, data: BaseModel) -> BaseModel:
        """Predict with the wrapped model, which never sees the id."""
        prediction = self._model.predict(_without_id(data, self._model.input_schema))
        fields = {**dict(prediction), FIELD: getattr(data, FIELD)}
        # By name too, because the fields of a schema with aliases are keyed by their names here.
        return self.output_schema.model_validate(fields, by_alias=True, by_name=True)


# The schemas are cached because a class made anew at each access would be another class each time,
# and no instance of one would be an instance of the next.
@cache
def _with_optional_id(schema: type[BaseModel]) -> type[BaseModel]:
    description = "An id for this prediction. If none is sent, one is made."
    return create_model(
        f"{schema.__name__}WithOptionalPredictionID",
        __base__=schema,
        __doc__=schema.__doc__,
        prediction_id=(UUID, Field(default_factory=uuid4, description=description)),
    )


@cache
def _with_id(schema: type[BaseModel]) -> type[BaseModel]:
    return create_model(
        f"{schema.__name__}WithPredictionID",
        __base__=schema,
        __doc__=schema.__doc__,
        prediction_id=(UUID, Field(description="The id that was sent or made.")),
    )


def _without_id(data: BaseModel, schema: type[BaseModel]) -> BaseModel:
    """Return the same values as an instance of the wrapped schema, not validated a second time."""
    fields = {name: value for name, value in data if name != FIELD}
    return schema.model_construct(data.model_fields_set - {FIELD}, **fields)
