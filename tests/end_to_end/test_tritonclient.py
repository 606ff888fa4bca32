"""Triton's own HTTP client against the real server, as its users call it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import tritonclient.http
import tritonclient.http.aio
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.end_to_end.server import Server

CONFIGURATION = {
    "service_title": "Sensors",
    "version": "3.0",
    "models": [
        {"class_path": "examples.iris.IrisModel"},
        {"class_path": "examples.diabetes.DiabetesModel"},
        {"class_path": "examples.digits.DigitsModel", "configuration": {"trees": 3}},
        {"class_path": "tests.fakes.tensors.EchoModel"},
    ],
    "open_inference": {"enabled": True},
}
ROWS: dict[str, list[Any]] = {
    "temperature": [21.5, -0.25],
    "count": [3, 2**53 + 1],
    "active": [True, False],
    "label": ["é雪", ""],
    "vector": [[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]],
}
EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "iris": [
        {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
        {"sepal_length": 6.3, "sepal_width": 3.3, "petal_length": 6.0, "petal_width": 2.5},
    ],
    "diabetes": [
        {
            "age": age,
            "sex": 2,
            "body_mass_index": 32.1,
            "blood_pressure": 101.0,
            "total_cholesterol": 157.0,
            "ldl": 93.2,
            "hdl": 38.0,
            "cholesterol_ratio": 4.0,
            "log_triglycerides": 4.8598,
            "glucose": 87.0,
        }
        for age in (59, 23)
    ],
    "digits": [
        {"image": [[float((row + column) % limit) for column in range(8)] for row in range(8)]}
        for limit in (17, 3)
    ],
}
TYPES = {str: numpy.object_, bool: numpy.bool_, int: numpy.int64, float: numpy.float64}
FORMATS = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(CONFIGURATION, "--worker-class", "gthread", "--threads", "8") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=4) as client:
        yield client


def array(values: list[Any]) -> NDArray[Any]:
    leaf: Any = values
    while isinstance(leaf, list):
        leaf = leaf[0]
    return numpy.array(values, dtype=TYPES[type(leaf)])


def given(columns: dict[str, list[Any]], binary: bool = True) -> list[InferInput]:
    """Make an input of each column, which has a value for each row."""
    return [from_array(name, array(values), binary=binary) for name, values in columns.items()]


def from_array(name: str, values: NDArray[Any], binary: bool = True) -> InferInput:
    made = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    return made.set_data_from_numpy(values, binary_data=binary)


def wanted(*names: str, binary: bool = True) -> list[InferRequestedOutput]:
    return [InferRequestedOutput(name, binary_data=binary) for name in names]


def values(result: Any, name: str) -> list[Any]:
    """What came back as the client reads it, its bytes as text."""
    found = result.as_numpy(name)
    assert found is not None, f"no output {name} in {result.get_response()}"
    decoded = [
        each.decode() if isinstance(each, bytes) else each for each in found.ravel().tolist()
    ]
    return numpy.array(decoded, dtype=object).reshape(found.shape).tolist()


def refused(ask: Callable[[], Any], status: int, message: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask()
    assert (caught.value.status(), caught.value.message()) == (str(status), message)


def test_the_server_is_live_and_ready(client: InferenceServerClient):
    assert client.is_server_live() is True
    assert client.is_server_ready() is True


def test_a_model_is_ready_in_its_version(client: InferenceServerClient):
    assert client.is_model_ready("echo") is True
    assert client.is_model_ready("echo", "2.1.0") is True
    assert client.is_model_ready("echo", "9") is False
    assert client.is_model_ready("unknown") is False


def test_the_server_says_what_it_is(client: InferenceServerClient):
    assert client.get_server_metadata() == {
        "name": "Sensors",
        "version": "3.0",
        "extensions": [
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "statistics",
        ],
    }


@pytest.mark.parametrize("version", ["", "2.1.0"])
def test_a_model_says_which_tensors_it_has(client: InferenceServerClient, version: str):
    metadata = client.get_model_metadata("echo", version)
    assert (metadata["name"], metadata["versions"]) == ("echo", ["2.1.0"])
    expected = [
        ("temperature", "FP64", [-1]),
        ("count", "INT64", [-1]),
        ("active", "BOOL", [-1]),
        ("label", "BYTES", [-1]),
        ("vector", "FP64", [-1, 3]),
    ]
    for key in ("inputs", "outputs"):
        tensors = [(each["name"], each["datatype"], each["shape"]) for each in metadata[key]]
        assert tensors == expected


@pytest.mark.parametrize("version", ["", "2.1.0"])
def test_a_model_has_a_configuration(client: InferenceServerClient, version: str):
    config = client.get_model_config("echo", version)
    assert config["name"] == "echo"
    assert config["max_batch_size"] == 1000
    expected = [
        ("temperature", "TYPE_FP64", [1]),
        ("count", "TYPE_INT64", [1]),
        ("active", "TYPE_BOOL", [1]),
        ("label", "TYPE_STRING", [1]),
        ("vector", "TYPE_FP64", [3]),
    ]
    for key in ("input", "output"):
        tensors = [(each["name"], each["data_type"], each["dims"]) for each in config[key]]
        assert tensors == expected


def test_the_repository_lists_all_models(client: InferenceServerClient):
    index = client.get_model_repository_index()
    assert [(each["name"], each["version"], each["state"]) for each in index] == [
        ("iris", "1.0.0", "READY"),
        ("diabetes", "1.0.0", "READY"),
        ("digits", "1.0.0", "READY"),
        ("echo", "2.1.0", "READY"),
    ]


def test_statistics_count_requests_and_their_rows(client: InferenceServerClient):
    def counted() -> tuple[int, int, int]:
        (statistics,) = client.get_inference_statistics("echo", "2.1.0")["model_stats"]
        assert (statistics["name"], statistics["version"]) == ("echo", "2.1.0")
        outcomes = statistics["inference_stats"]
        return (
            statistics["inference_count"],
            outcomes["success"]["count"],
            outcomes["fail"]["count"],
        )

    rows, successes, failures = counted()
    client.infer("echo", given(ROWS))
    with pytest.raises(InferenceServerException):
        client.infer("echo", given({"unknown": [1.0]}))
    assert counted() == (rows + 2, successes + 1, failures + 1)
    names = [each["name"] for each in client.get_inference_statistics()["model_stats"]]
    assert names == ["iris", "diabetes", "digits", "echo"]


@FORMATS
@pytest.mark.parametrize("name", ["iris", "diabetes", "digits"])
def test_the_examples_predict_as_they_do_elsewhere(
    server: Server, client: InferenceServerClient, name: str, binary: bool
):
    rows = EXAMPLES[name]
    path = f"/api/models/{name}/prediction/batch"
    expected = server.client.post(path, json={"inputs": rows}).json()["predictions"]
    columns = {field: [row[field] for row in rows] for field in rows[0]}
    result = client.infer(name, given(columns, binary), outputs=wanted(*expected[0], binary=binary))
    for field in expected[0]:
        assert values(result, field) == [row[field] for row in expected]


def test_one_tensor_holds_the_fields_in_their_order(client: InferenceServerClient):
    features = numpy.array([list(row.values()) for row in EXAMPLES["iris"]], dtype=numpy.float32)
    result = client.infer("iris", [from_array("features", features)])
    assert values(result, "species") == ["setosa", "virginica"]


@FORMATS
def test_tensors_of_each_kind_come_and_go(client: InferenceServerClient, binary: bool):
    result = client.infer("echo", given(ROWS, binary), outputs=wanted(*ROWS, binary=binary))
    assert {name: values(result, name) for name in ROWS} == ROWS
    described = {each["name"]: each for each in result.get_response()["outputs"]}
    assert list(described) == list(ROWS)
    for each in described.values():
        assert ("data" in each, "binary_data_size" in each.get("parameters", {})) == (
            not binary,
            binary,
        )


@pytest.mark.parametrize(
    ("field", "type_"),
    [
        ("temperature", numpy.float16),
        ("temperature", numpy.float32),
        ("temperature", numpy.int8),
        ("temperature", numpy.uint64),
        ("count", numpy.int8),
        ("count", numpy.int16),
        ("count", numpy.int32),
        ("count", numpy.uint8),
        ("count", numpy.uint16),
        ("count", numpy.uint32),
        ("count", numpy.uint64),
    ],
)
@FORMATS
def test_a_field_takes_any_datatype_that_holds_its_values(
    client: InferenceServerClient, field: str, type_: Any, binary: bool
):
    others = given({name: each for name, each in ROWS.items() if name != field}, binary)
    numbers = from_array(field, numpy.array([7, 12], dtype=type_), binary)
    result = client.infer("echo", [*others, numbers])
    assert values(result, field) == [7, 12]


def test_bfloat16_comes_in_binary(client: InferenceServerClient):
    import ml_dtypes

    others = given({name: each for name, each in ROWS.items() if name != "temperature"})
    numbers = numpy.array([1.5, -3.140625], dtype=ml_dtypes.bfloat16)
    result = client.infer("echo", [*others, from_array("temperature", numbers)])
    assert values(result, "temperature") == [1.5, -3.140625]


def test_strings_come_as_numpy_bytes_too(client: InferenceServerClient):
    others = given({name: each for name, each in ROWS.items() if name != "label"})
    labels = numpy.array([b"first", b"second"], dtype=numpy.bytes_)
    assert values(client.infer("echo", [*others, from_array("label", labels)]), "label") == [
        "first",
        "second",
    ]


def test_many_rows_keep_their_order(client: InferenceServerClient):
    count = 1000
    rows: dict[str, list[Any]] = {
        "temperature": [index / 8 for index in range(count)],
        "count": list(range(count)),
        "active": [index % 3 == 0 for index in range(count)],
        "label": [f"row {index}" for index in range(count)],
        "vector": [[float(index), 0.0, -float(index)] for index in range(count)],
    }
    result = client.infer("echo", given(rows))
    assert {name: values(result, name) for name in rows} == rows


@FORMATS
def test_only_the_outputs_that_are_asked_for_come_back(client: InferenceServerClient, binary: bool):
    outputs = wanted("vector", "label", binary=binary)
    result = client.infer("echo", given(ROWS), outputs=outputs)
    assert [each["name"] for each in result.get_response()["outputs"]] == ["vector", "label"]
    assert result.as_numpy("count") is None


def test_inputs_and_outputs_in_binary_and_json_mix(client: InferenceServerClient):
    inputs = [from_array(name, array(ROWS[name]), name in ("label", "count")) for name in ROWS]
    outputs = [InferRequestedOutput(name, name in ("vector", "label")) for name in reversed(ROWS)]
    result = client.infer("echo", inputs, outputs=outputs)
    assert {name: values(result, name) for name in ROWS} == ROWS


def test_a_request_keeps_its_id_and_names_its_version(client: InferenceServerClient):
    result = client.infer(
        "echo",
        given(ROWS),
        model_version="2.1.0",
        request_id="request 42",
        priority=1,
        timeout=1_000_000,
        parameters={"customer": "a"},
        query_params={"trace": "1"},
    )
    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == ("echo", "2.1.0")
    assert response["id"] == "request 42"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_client_that_takes_compressed_responses_is_answered(
    client: InferenceServerClient, algorithm: str
):
    result = client.infer("echo", given(ROWS), response_compression_algorithm=algorithm)
    assert {name: values(result, name) for name in ROWS} == ROWS


@pytest.mark.parametrize("binary", [True, False])
def test_a_request_that_gzip_has_compressed_is_answered(
    client: InferenceServerClient, binary: bool
):
    inputs = given(ROWS, binary=binary)
    result = client.infer("echo", inputs, request_compression_algorithm="gzip")
    assert {name: values(result, name) for name in ROWS} == ROWS


def test_a_request_that_is_compressed_otherwise_is_refused(client: InferenceServerClient):
    refused(
        lambda: client.infer("echo", given(ROWS), request_compression_algorithm="deflate"),
        415,
        'Unsupported content encoding "deflate"; send the body uncompressed, or compressed by '
        "gzip.",
    )


def test_asynchronous_requests_get_each_its_own_answer(client: InferenceServerClient):
    requests = []
    for number in range(20):
        rows = {**ROWS, "count": [number, number + 100]}
        requests.append(client.async_infer("echo", given(rows), request_id=str(number)))
    for number, each in enumerate(requests):
        result = each.get_result(timeout=60)
        assert result.get_response()["id"] == str(number)
        assert values(result, "count") == [number, number + 100]


def test_an_asynchronous_request_is_told_its_error(client: InferenceServerClient):
    bad = client.async_infer("iris", given({"petal": [1.0]}))
    good = client.async_infer("echo", given(ROWS))
    with pytest.raises(InferenceServerException) as caught:
        bad.get_result(timeout=60)
    assert caught.value.status() == "400"
    assert caught.value.message().startswith('Input "petal": the model has none of this name')
    assert values(good.get_result(timeout=60), "count") == ROWS["count"]


def test_the_client_for_asyncio_infers(server: Server):
    async def infer() -> Any:
        url = f"127.0.0.1:{server.port}"
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            assert await client.is_server_live()
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("unknown", given(ROWS))
            assert caught.value.status() == "404"
            return await client.infer("echo", given(ROWS))

    result = asyncio.run(infer())
    assert {name: values(result, name) for name in ROWS} == ROWS


def test_an_unknown_model_or_version_is_not_found(client: InferenceServerClient):
    inputs = given(ROWS)
    unknown = 'There is no model "unknown".'
    version = 'The model "echo" has no version "9", but "2.1.0".'
    refused(lambda: client.infer("unknown", inputs), 404, unknown)
    refused(lambda: client.get_model_metadata("unknown"), 404, unknown)
    refused(lambda: client.infer("echo", inputs, model_version="9"), 404, version)
    refused(lambda: client.get_model_config("echo", "9"), 404, version)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": None}, 'Input "count" is missing.'),
        ({"active": [True]}, 'Input "active" has 1 rows, but input "temperature" has 2.'),
        (
            {"label": [1, 2]},
            'Input "label", row 0: Input should be a valid string; '
            'Input "label", row 1: Input should be a valid string',
        ),
        (
            {"count": [3.5, 4.0]},
            'Input "count", row 0: Input should be a valid integer, got a number with a '
            "fractional part",
        ),
        (
            {"vector": [[1.0, 2.0], [3.0, 4.0]]},
            'Input "vector": the shape [2, 2] is not [-1, 3], where -1 is any length.',
        ),
    ],
    ids=["missing", "rows", "datatype", "fraction", "length"],
)
@FORMATS
def test_what_does_not_fit_is_refused(
    client: InferenceServerClient,
    changed: dict[str, list[Any] | None],
    message: str,
    binary: bool,
):
    columns = {name: each for name, each in (ROWS | changed).items() if each is not None}
    refused(lambda: client.infer("echo", given(columns, binary)), 400, message)


def test_an_output_that_there_is_not_is_refused(client: InferenceServerClient):
    refused(
        lambda: client.infer("echo", given(ROWS), outputs=wanted("unknown")),
        400,
        'Output "unknown": the model gives none of this name; it gives temperature, count, '
        "active, label, vector.",
    )


def test_classification_is_refused(client: InferenceServerClient):
    outputs = [InferRequestedOutput("label", class_count=2)]
    refused(
        lambda: client.infer("echo", given(ROWS), outputs=outputs),
        400,
        'Output "label": classification is not supported; ask for the output itself.',
    )


def test_shared_memory_is_refused(client: InferenceServerClient):
    (output,) = wanted("label")
    output.set_shared_memory("region", 64)
    shared = InferInput("temperature", [1], "FP64").set_shared_memory("region", 8)
    refusal = "shared memory is not supported; send the data in the body."
    refused(lambda: client.infer("echo", [shared]), 400, f'Input "temperature": {refusal}')
    refused(
        lambda: client.infer("echo", given(ROWS), outputs=[output]),
        400,
        f'Output "label": {refusal}',
    )


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (lambda client: client.get_trace_settings(), "trace/setting"),
        (lambda client: client.get_log_settings(), "logging"),
        (lambda client: client.update_log_settings({"log_info": True}), "logging"),
        (lambda client: client.get_system_shared_memory_status(), "systemsharedmemory/status"),
        (
            lambda client: client.register_system_shared_memory("a", "/a", 8),
            "systemsharedmemory/region/a/register",
        ),
        (lambda client: client.get_cuda_shared_memory_status(), "cudasharedmemory/status"),
    ],
)
def test_extensions_that_the_server_does_not_name_are_not_found(
    client: InferenceServerClient, ask: Callable[[InferenceServerClient], Any], path: str
):
    refused(lambda: ask(client), 404, f"There is nothing at /v2/{path}.")
