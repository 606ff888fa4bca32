"""What the document says of requests and responses is what the service does."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from tests.documented_inputs import documented_inputs
from tests.fakes.awkward import Echo, configuration
from tests.in_process import InProcessService
from tests.sweeps import IN_CI, number

EXAMPLES = {
    "iris": {
        "class_path": "examples.iris.IrisModel",
        "decorators": [{"class_path": "examples.prediction_id.PredictionIDDecorator"}],
    },
    "diabetes": {"class_path": "examples.diabetes.DiabetesModel"},
    "digits": {"class_path": "examples.digits.DigitsModel", "configuration": {"trees": 3}},
}
MODELS = [*(model.qualified_name for model in Echo.all), *EXAMPLES]

FEW = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# At random where a person can look into what turns up, and fewer, the same each time, in CI.
MANY = settings(FEW, max_examples=number(400, 10), derandomize=IN_CI)


@cache
def service() -> InProcessService:
    """The awkward models and the examples, one of them decorated."""
    models = configuration()["models"]
    assert isinstance(models, list)
    return InProcessService({"models": [*models, *EXAMPLES.values()]})


def exactly(text: str | bytes) -> Any:
    """Read JSON without rounding: in floating point 0.15 is no multiple of 0.05."""
    return json.loads(text, parse_float=Decimal)


def _is_integer(_checker: Any, value: Any) -> bool:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return is_number and value == int(value)


Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def validator(schema: dict[str, Any]) -> Any:
    """Validate what `exactly` reads against a schema of the document."""
    components = service().document["components"]
    return Validator(exactly(json.dumps({**schema, "components": components})))


def predicts_as_documented(name: str) -> Callable[[], None]:
    taken = validator(service().request_schema(name))
    given_back = validator(service().response_schema(name))

    @given(documented_inputs(service().request_schema(name), service().components))
    def predicts(value: Any) -> None:
        body = json.dumps(value).encode()
        taken.validate(exactly(body))  # or the test itself misreads the schema
        response = service().predict(name, body)
        assert response.status_code == 200, (body, response.content)
        given_back.validate(exactly(response.content))

    return predicts


@pytest.mark.parametrize("name", MODELS)
def test_documented_inputs_are_accepted_and_answered_with_documented_outputs(name: str) -> None:
    FEW(predicts_as_documented(name))()


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_thousands_of_documented_inputs_are_accepted(name: str) -> None:
    MANY(predicts_as_documented(name))()


def mutants(value: Any) -> Iterator[Any]:
    """The same value with something about it changed, in each place and in each way."""
    for path in _paths(value):
        for change in (_to_object, _to_list, _to_far_number, _to_longer_text):
            yield _changed(value, path, change)
        inner = _at(value, path)
        if isinstance(inner, dict):
            yield _changed(value, path, lambda old: {**old, "unexpected": [{}]})
            for key in inner:
                yield _changed(value, path, partial(_without, key))
        if isinstance(inner, list) and inner:
            yield _changed(value, path, lambda old: old[:-1])
            yield _changed(value, path, lambda old: [*old, *old, *old])


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        for path in _paths(inner):
            yield (key, *path)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    changed = copy.copy(value)
    changed[path[0]] = _changed(value[path[0]], path[1:], change)
    return changed


def _without(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


def _to_object(_old: Any) -> Any:
    return {"unexpected": [{}]}


def _to_list(_old: Any) -> Any:
    return [[{}]]


def _to_far_number(old: Any) -> Any:
    # No other number is one that some type converts, such as 0 to false.
    return -(10.0**12) - 0.5 if isinstance(old, int | float) else old


def _to_longer_text(old: Any) -> Any:
    return f"{old}\x00~" if isinstance(old, str) else old


def _is_converted(schema: dict[str, Any]) -> bool:
    # A set drops what a list holds twice, and base64 what is none of its digits.
    return bool(schema.get("uniqueItems")) or schema.get("format") == "base64"


def refuses_what_is_not_documented(name: str) -> Callable[[], None]:
    taken = validator(service().request_schema(name))
    inputs = documented_inputs(service().request_schema(name), service().components)

    def is_refused(body: bytes) -> bool:
        return not all(_is_converted(error.schema) for error in taken.iter_errors(exactly(body)))

    @given(inputs, st.randoms(use_true_random=False))
    def refuses(value: Any, random: Any) -> None:
        candidates = list(mutants(value))
        for mutant in random.sample(candidates, min(len(candidates), 5)):
            body = json.dumps(mutant).encode()
            response = service().predict(name, body)
            expected = [400] if is_refused(body) else [200, 400]
            assert response.status_code in expected, (body, response.content)

    return refuses


@pytest.mark.parametrize("name", MODELS)
def test_inputs_that_are_not_documented_are_refused(name: str) -> None:
    FEW(refuses_what_is_not_documented(name))()


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_thousands_of_inputs_that_are_not_documented_are_refused(name: str) -> None:
    MANY(refuses_what_is_not_documented(name))()
