"""The examples of models that compute in processes of their own, as a reader serves them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sklearn.datasets import load_digits

from tests.end_to_end.server import REPOSITORY, Server, serve
from tests.test_docs import is_torch_wanted

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]


def test_one_that_crashes_is_there_again_and_its_neighbour_notices_nothing() -> None:
    with serve(REPOSITORY / "examples" / "crashing.yaml") as server:
        for _ in range(3):
            assert divide(server, 1, 0).status_code == 502
            # It may still be ending as the next request comes.
            server.wait_until(
                lambda: divide(server, 7, 2).status_code == 200 or None, "there again"
            )
            assert divide(server, 7, 2).json() == {"quotient": 3}
            assert divide(server, 1, 2000).status_code == 400
        flower = dict.fromkeys(("sepal_length", "sepal_width", "petal_length", "petal_width"), 1.0)
        assert server.client.post("/api/models/iris/prediction", json=flower).status_code == 200


def divide(server: Server, dividend: int, divisor: int) -> httpx.Response:
    body = {"dividend": dividend, "divisor": divisor}
    return server.client.post("/api/models/crashing/prediction", json=body)


@pytest.mark.skipif(not is_torch_wanted(), reason="requirements/cookbook.txt has PyTorch")
def test_a_network_of_pytorch_is_in_the_memory_of_its_process_only() -> None:
    digits = load_digits()
    pairs = list(zip(digits.images.tolist(), digits.target.tolist(), strict=True))[:200]
    with (
        serve(
            REPOSITORY / "examples" / "torch_digits.yaml",
            environment={"MODELHOST_WORKERS": "2"},
            timeout=150,
        ) as server,
        ThreadPoolExecutor(16) as clients,
    ):
        url = "/api/models/torch_digits/prediction"
        asked = clients.map(lambda pair: server.client.post(url, json={"image": pair[0]}), pairs)
        answers = [answer.json()["digit"] for answer in asked]
        having = [name for name in processes(server) if has_torch(name)]
    assert sum(digit == pair[1] for digit, pair in zip(answers, pairs, strict=True)) > 190
    assert len(having) == 1


def processes(server: Server) -> list[Path]:
    """Return what the system knows of the server's processes."""
    environment = f"REST_CONFIG={server.configuration}".encode()
    return [
        folder
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and environment in _read(folder / "environ")
    ]


def has_torch(process: Path) -> bool:
    return b"libtorch" in _read(process / "maps")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
