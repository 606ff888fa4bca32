"""Where the time of one request goes, in process: python -m benchmarks.request_budget.

The constant model, through Django's WSGI handler without any server, against a plain Django view
that validates, predicts and serialises in the same way. The two take turns.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.rows import ROWS
from benchmarks.servers import TUNED

_MODEL = "constant"
_PATH = f"/api/models/{_MODEL}/prediction"
_PLAIN_PATH = "/plain"
_BODY = json.dumps(TUNED.body(ROWS[0])).encode()


def main() -> None:
    """Measure and print."""
    options = _options()
    application, stages = _set_up()
    print(f"{options.rounds} rounds of {options.requests} requests each ...", file=sys.stderr)
    plain, served = [], []
    for _ in range(options.rounds):
        plain.append(_microseconds(lambda: _request(application, _PLAIN_PATH), options.requests))
        served.append(_microseconds(lambda: _request(application, _PATH), options.requests))
    print(f"{'plain Django view':24}{median(plain):8.1f} µs")
    print(f"{'modelhost':24}{median(served):8.1f} µs")
    ratio = median(one / other for one, other in zip(served, plain, strict=True))
    print(f"{'ratio':24}{ratio:8.2f}")
    print("\nof modelhost's:")
    known = 0.0
    for name, stage in stages.items():
        spent = median(_microseconds(stage, options.requests) for _ in range(options.rounds))
        known += spent
        print(f"  {name:22}{spent:8.1f} µs")
    print(f"  {'handler and middleware':22}{median(served) - known:8.1f} µs (the rest)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.request_budget", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="turns (default: 15)")
    parser.add_argument(
        "--requests", type=int, default=1000, metavar="N", help="in each turn (default: 1000)"
    )
    return parser.parse_args()


def _set_up() -> tuple[Any, dict[str, Callable[[], Any]]]:
    """Return the application, with the plain view in it, and the stages of a prediction."""
    configuration = Path(tempfile.mkdtemp()) / "rest_config.yaml"
    configuration.write_text("models: [{class_path: benchmarks.models.ConstantModel}]\n")
    os.environ |= {"REST_CONFIG": str(configuration), "MODELHOST_LOG_LEVEL": "WARNING"}
    from django.apps import apps  # noqa: PLC0415 (the configuration is read on import)

    from modelhost.wsgi import application  # noqa: PLC0415

    app_config: Any = apps.get_app_config("models_api")
    registry = app_config.registry
    registry.load()
    model = registry[_MODEL].ready_model()
    _add_plain_view(model)
    for path in (_PATH, _PLAIN_PATH):
        assert b'"setosa"' in _request(application, path).content  # noqa: S101
    return application, _stages(model)


def _add_plain_view(model: Any) -> None:
    from django.http import HttpRequest, HttpResponse  # noqa: PLC0415
    from django.urls import path  # noqa: PLC0415
    from django.views.decorators.csrf import csrf_exempt  # noqa: PLC0415

    from modelhost import urls  # noqa: PLC0415

    validate = model.input_schema.__pydantic_validator__.validate_json
    write = model.output_schema.__pydantic_serializer__.to_json

    @csrf_exempt
    def plain(request: HttpRequest) -> HttpResponse:
        prediction = model.predict(validate(request.body))
        return HttpResponse(write(prediction), content_type="application/json")

    patterns: list[Any] = urls.urlpatterns
    patterns.insert(0, path(_PLAIN_PATH.removeprefix("/"), plain))


def _stages(model: Any) -> dict[str, Callable[[], Any]]:
    from django.core.handlers.wsgi import WSGIRequest  # noqa: PLC0415
    from django.http import HttpResponse  # noqa: PLC0415
    from django.urls import resolve  # noqa: PLC0415

    from models_api.api.request_body import read_json_body  # noqa: PLC0415
    from models_api.prediction.codec import parse, serialise  # noqa: PLC0415

    data = parse(_BODY, model.input_schema)
    prediction = model.predict(data)
    written = serialise(prediction, model.output_schema)
    return {
        "request and body": lambda: read_json_body(WSGIRequest(_environ(_PATH))),
        "route": lambda: resolve(_PATH),
        "parse": lambda: parse(_BODY, model.input_schema),
        "predict": lambda: model.predict(data),
        "serialise": lambda: serialise(prediction, model.output_schema),
        "response": lambda: HttpResponse(written, content_type="application/json"),
    }


def _request(application: Any, path: str) -> Any:
    response = application(_environ(path), lambda *_: None)
    response.close()
    return response


def _environ(path: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "HTTP_ACCEPT": "*/*",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(_BODY)),
        "wsgi.input": io.BytesIO(_BODY),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
    }


def _microseconds(call: Callable[[], Any], times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times * 1e6


if __name__ == "__main__":
    main()
