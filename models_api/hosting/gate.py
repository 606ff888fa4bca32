"""What a model must predict that was loaded while the service runs, before it takes requests."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from pydantic_core import from_json, to_json

from models_api.exceptions import ModelsAPIError, Overloaded
from models_api.hosting.hosted_model import HostedModel
from models_api.schemas.json_schema import json_schema
from models_api.threads import cleaned_up

LONGEST_SECONDS = 120.0
"""That one of these predictions may take, unless the model has a shorter `timeout_seconds`."""
_PATIENCE_SECONDS = 10.0
"""For which other predictions of this process may leave it no place."""
_PAUSE_SECONDS = 0.1


class GateFailed(Exception):
    """A new model does not predict what it must."""


class _Check(NamedTuple):
    name: str
    input: object
    expects_output: bool = False
    output: object = None
    tolerance: float = 0.0


def check_predictions(model: HostedModel) -> None:
    """Predict for the examples of a model's input schema, and for its smoke tests.

    Raises:
        GateFailed: a prediction fails, does not end, or is not what a smoke test expects.
    """
    for check in _checks(model):
        found = from_json(_predict_in_time(model, check))
        difference = _difference(check, found)
        if difference is not None:
            raise GateFailed(f"{check.name} of {model.label} gives {difference}")


def _checks(model: HostedModel) -> Iterator[_Check]:
    examples = json_schema(model.schemas.input, "validation").get("examples")
    for index, example in enumerate(examples if isinstance(examples, list) else ()):
        yield _Check(f"examples[{index}]", example)
    for index, test in enumerate(model.configuration.smoke_tests):
        expects = "output" in test.model_fields_set
        yield _Check(f"smoke_tests[{index}]", test.input, expects, test.output, test.tolerance)


def _predict_in_time(model: HostedModel, check: _Check) -> bytes:
    """Predict on a thread of its own, which nothing can stop; it holds the model to its end."""
    prediction: Future[bytes] = Future()

    def work() -> None:
        try:
            prediction.set_result(_predict(model, check))
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            prediction.set_exception(error)

    threading.Thread(target=cleaned_up(work), name="gate", daemon=True).start()
    try:
        return prediction.result(LONGEST_SECONDS)
    except TimeoutError:
        reason = f"{check.name} of {model.label} takes longer than {LONGEST_SECONDS:g} s"
        raise GateFailed(reason) from None


def _predict(model: HostedModel, check: _Check) -> bytes:
    body, until = to_json(check.input), time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return model.backend.predict(body)
        except Overloaded as error:
            if time.monotonic() > until:
                raise GateFailed(f"{check.name} of {model.label} finds no place") from error
            time.sleep(_PAUSE_SECONDS)
        except ModelsAPIError as error:
            reason = getattr(error, "reason", "")
            why = f"{error} {reason}".rstrip()
            raise GateFailed(f"{check.name} of {model.label} fails: {why}") from error


def _difference(check: _Check, found: object) -> str | None:
    """Return where a prediction is not the expected one; None where it is."""
    if not check.expects_output:
        return None
    expected = from_json(to_json(check.output))
    return next(_differences(expected, found, check.tolerance, ""), None)


def _differences(expected: object, found: object, tolerance: float, place: str) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            if key in found:
                yield from _differences(value, found[key], tolerance, f"{place}.{key}")
            else:
                yield f"no {place}.{key}".replace(" .", " ")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(one, other, tolerance, f"{place}[{index}]")
    elif not _is_equal(expected, found, tolerance):
        at = f" at {place.removeprefix('.')}" if place else ""
        yield f"{found!r}{at}, not {expected!r}"


def _is_equal(expected: object, found: object, tolerance: float) -> bool:
    if _is_number(expected) and _is_number(found):
        return math.isclose(expected, found, rel_tol=0.0, abs_tol=tolerance)  # type: ignore[arg-type]
    return type(expected) is type(found) and expected == found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
