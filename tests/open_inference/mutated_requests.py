"""Inference requests with a few random faults each, as a fuzzer sends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from struct import pack
from typing import Any

from tests.open_inference.hostile_requests import DATATYPES, strings

_VALUES: list[Any] = [
    *(0, -1, 1, 2, 3, 4, 8, 255, 256, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**30),
    *(0.5, 1e308, float("nan"), float("inf"), None, True, False, "", "x", "1", "é", [], {}),
    *([[]], [1], [0], [-1], [2, 0], [0, 2**40], [2**32, 2**32], {"binary_data_size": 8}),
    *DATATYPES.split(", "),
    *("temperature", "count", "active", "label", "vector", "unknown"),
]
_KEYS = ["name", "shape", "datatype", "data", "parameters", "binary_data_size", "binary_data"]


def mutated_request(seed: int) -> tuple[bytes, str | None]:
    """Make a body, and what Inference-Header-Content-Length says of it; the same for one seed."""
    random = Random(seed)  # noqa: S311 (nobody is to be surprised)
    header, data = _valid(random)
    for _ in range(random.randint(0, 3)):
        header = random.choice(_STRUCTURAL)(random, header)
    written = json.dumps(header).encode()
    # What would say of every second request only that its JSON is invalid comes rarely.
    if random.random() < 0.15:
        written = _mutated_bytes(random, written)
    if random.random() < 0.5:
        data = _mutated_bytes(random, data)
    length = str(len(written)) if random.random() < 0.9 else _other_length(random, len(written))
    return written + data, length


def _valid(random: Random) -> tuple[Any, bytes]:
    """Make the JSON and the binary data of a request that the echo model can answer."""
    rows = random.randint(1, 3)
    columns = {
        "temperature": ("FP64", [rows], [21.5] * rows, pack("<d", 21.5) * rows),
        "count": ("INT64", [rows], [3] * rows, pack("<q", 3) * rows),
        "active": ("BOOL", [rows], [True] * rows, b"\1" * rows),
        "label": ("BYTES", [rows], ["é"] * rows, strings("é".encode()) * rows),
        "vector": ("FP32", [rows, 3], [1.5] * 3 * rows, pack("<f", 1.5) * 3 * rows),
    }
    inputs, data = [], b""
    for name, (datatype, shape, elements, written) in columns.items():
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if random.random() < 0.8:
            tensor["parameters"] = {"binary_data_size": len(written)}
            data += written
        else:
            tensor["data"] = elements
        inputs.append(tensor)
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in columns]
    parameters = {"binary_data_output": True}
    return {"id": "1", "inputs": inputs, "outputs": outputs, "parameters": parameters}, data


def _replace(random: Random, value: Any) -> Any:
    """Put another value somewhere in it, however deep."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.1:
        return random.choice(_VALUES)
    copy: Any = value.copy()
    key = random.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    copy[key] = _replace(random, copy[key])
    return copy


def _remove(random: Random, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value:
        return value
    copy: Any = value.copy()
    key = random.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if random.random() < 0.3:
        del copy[key]
    else:
        copy[key] = _remove(random, copy[key])
    return copy


def _add(random: Random, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value:
        return value
    copy: Any = value.copy()
    key = random.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if random.random() < 0.6:
        copy[key] = _add(random, copy[key])
    elif isinstance(copy, list):
        copy.insert(key, random.choice([copy[key], *_VALUES]))
    else:
        copy[random.choice(_KEYS)] = random.choice(_VALUES)
    return copy


_STRUCTURAL: list[Callable[[Random, Any], Any]] = [_replace, _replace, _remove, _add]


def _mutated_bytes(random: Random, data: bytes) -> bytes:
    at = random.randint(0, len(data))
    some = random.randbytes(random.randint(1, 8))
    return random.choice(
        [
            data[:at],
            data[at:],
            data[:at] + some + data[at:],
            data[:at] + some + data[at + len(some) :],
            data[:at] + data[at + len(some) :],
            data + data[:at],
            data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :],
        ]
    )


def _other_length(random: Random, length: int) -> str | None:
    numbers = [length - 1, length + 1, 0, 2 * length, 2**63, -1, random.randint(0, 2 * length)]
    texts = ["", " ", "+5", "1e3", "0x10", "five", "9" * 5000, f"{length}.0", f" {length} ", "²"]
    return random.choice([None, *map(str, numbers), *texts])
