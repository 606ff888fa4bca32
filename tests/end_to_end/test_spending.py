"""What one request may cost a worker: memory and time of the processor, whatever it holds."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.end_to_end.server import STARTERS, Server
from tests.fakes.costly import FIELDS
from tests.sweeps import share

pytestmark = pytest.mark.long

CONFIGURATION = {
    "models": [{"class_path": f"tests.fakes.costly.{field.title()}Model"} for field in FIELDS],
    "open_inference": {"enabled": True},
}
MEGABYTES = 500
SECONDS = 1.0
"""Of a processor that reads `NUMBERS` in `READING_SECONDS`."""
NUMBERS = f"[{','.join(['0.5'] * 1_000_000)}]"
READING_SECONDS = 0.1
ATTEMPTS = 3
"""Neighbours make a processor slower. What is dear by itself is so each time."""
ELEMENTS = ("{}", "null", '"a"', '"inf"', "[]", '{"x":0}', '{"kind":"cat"}', '["x"]', "-1")
DEAREST = {"mapping", "text", "others", "tensors"}
LENGTHS = (700_000, 12_000, 3_300_000, 60_000, 1_400_000, 230_000)


class Body(NamedTuple):
    """One request."""

    path: str
    content: bytes
    headers: dict[str, str]


def in_json(field: str, value: str, *, batch: bool = False) -> Body:
    content = f'{{"{field}":{value}}}'
    if batch:
        content = f'{{"inputs":[{content},{content}]}}'
    path = f"/api/models/{field}/prediction{'/batch' if batch else ''}"
    return Body(path, content.encode(), {"Content-Type": "application/json"})


def in_tensors(field: str, shape: list[int], datatype: str, data: bytes, **more: str) -> Body:
    parameters = {"binary_data_size": len(data), **more}
    tensor = {"name": field, "shape": shape, "datatype": datatype, "parameters": parameters}
    header = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return Body(f"/v2/models/{field}/infer", header + data, headers)


def deep(field: str, levels: int, leaf: str) -> Body:
    key = "terms" if field == "formula" else "children"
    value = f'{{"{key}":[' * levels + leaf + "]}" * levels
    return in_json(field, value if field == "formula" else f"[{value}]")


def lists(field: str) -> Iterator[Body]:
    for element in ELEMENTS:
        for length in share(LENGTHS, 2):
            if length * (len(element) + 1) < 10_000_000:
                yield in_json(field, f"[{','.join([element] * length)}]")
    yield in_json(field, f"[{','.join(['{}'] * 6_000)}]", batch=True)


def others() -> Iterator[Body]:
    for field in ("mapping", "closed", "open"):
        for value in ("0", "null"):
            names = (f'"{index}":{value}' for index in range(700_000))
            yield in_json(field, f"{{{','.join(names)}}}")
    for levels in (5, 10, 14, 15, 16, 17, 18, 30, 80):
        for leaf in ("{}", "null"):
            yield deep("formula", levels, leaf)
            yield deep("trees", levels, leaf)
    for text in ("{}", "null", r"\u007b\u007d"):
        yield in_json("text", f'"[{",".join([text] * 500_000)}]"')


def tensors() -> Iterator[Body]:
    for count in (1_000_000, 1_500_000, 10_000_000):
        yield in_tensors("bits", [1, count], "INT8", b"\2" * count)
        yield in_tensors("numbers", [1, count], "BOOL", b"\1" * count)
    for count in (1_200_000, 1_500_000, 2_500_000):
        yield in_tensors("strings", [1, count], "BYTES", bytes(4 * count))
        yield in_tensors("decimals", [1, count], "BYTES", bytes(4 * count))
    for element in ("{}", "[]", "null"):
        data = f"[{','.join([element] * 1_900_000)}]".encode()
        sized = len(data).to_bytes(4, "little") + data
        yield in_tensors("points", [1], "BYTES", sized, content_type="json")


class Spent(NamedTuple):
    """What the processes of a server have taken."""

    megabytes: float
    seconds: float


def processes(root: int) -> list[int]:
    """List a process and all that it and its children have started."""
    found = [root]
    for task in Path(f"/proc/{root}/task").iterdir():
        # Threads end now and then; the one that starts processes stays.
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text(encoding="ascii").split():
                found.extend(processes(int(child)))
    return found


def spent(server: Server) -> Spent:
    """Look at the peak of memory and the processor's time, of which the processes share none."""
    megabytes, seconds = 0.0, 0.0
    for process in processes(server.process.pid):
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
        megabytes += int(status.partition("VmHWM:")[2].split()[0]) / 1024
        ticks = Path(f"/proc/{process}/stat").read_text(encoding="ascii").split()[13:15]
        seconds += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return Spent(megabytes, seconds)


def forget_peaks(server: Server) -> None:
    for process in processes(server.process.pid):
        Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")


def _cases() -> Iterator[Any]:
    """Yield each kind of bodies with one of the servers, in turn; the dearest with each."""
    makers: dict[str, Callable[[], Iterator[Body]]]
    makers = {field: partial(lists, field) for field in FIELDS}
    makers |= {"others": others, "tensors": tensors}
    for kind, starter in enumerate(STARTERS):
        for index, (name, make) in enumerate(makers.items()):
            if name in DEAREST or index % len(STARTERS) == kind:
                yield pytest.param(starter, make, id=f"{starter}-{name}")


CASES = share(list(_cases()), 2)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    start = STARTERS[request.param]
    with start(CONFIGURATION, environment={"MODELHOST_WORKERS": "1"}) as server:
        yield server


def slowness() -> float:
    """Return how many times slower than that processor this one is now; 1 where it is faster."""
    began = time.process_time()
    json.loads(NUMBERS)
    return max(1.0, (time.process_time() - began) / READING_SECONDS)


def is_long(taken: Spent) -> bool:
    return taken.seconds > SECONDS and taken.seconds > SECONDS * slowness()


def measured(server: Server, body: Body) -> tuple[int, Spent]:
    forget_peaks(server)
    before = spent(server)
    response = server.client.post(body.path, content=body.content, headers=body.headers)
    after = spent(server)
    return response.status_code, Spent(
        after.megabytes - before.megabytes, after.seconds - before.seconds
    )


@pytest.mark.timeout(600)
# Without a scope there is a server for each of them, as not all arguments are fixtures.
@pytest.mark.parametrize(("server", "make"), CASES, indirect=["server"], scope="module")
def test_no_request_takes_more_than_half_a_gigabyte_and_a_second(
    server: Server, make: Callable[[], Iterator[Body]]
) -> None:
    dear: list[Any] = []
    for body in make():
        status, taken = measured(server, body)
        for _ in range(ATTEMPTS - 1):
            # Memory shows the first time only, as a process keeps some of what it had.
            if taken.megabytes <= MEGABYTES and is_long(taken):
                status, taken = measured(server, body)
        assert status in (200, 400, 413)
        if taken.megabytes > MEGABYTES or is_long(taken):
            dear.append((body.path, len(body.content), body.content[:80], status, taken))
    assert not dear
