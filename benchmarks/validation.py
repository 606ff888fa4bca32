"""What a JSON value costs while it is validated, by the schema: `python -m benchmarks.validation`.

For each kind of schema there is a body of the same value, over and over. Each is validated in a
process of its own, as the service does it, and refused where the service would refuse it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from models_api.exceptions import InvalidInput, PayloadTooLarge
from models_api.prediction import codec
from models_api.prediction.value_limit import DEFAULT_MAXIMUM_VALUES, ValueLimit
from models_api.schemas.costs import costs_of
from tests.fakes.costly import CostlyInput, single_field

VALUES = {
    "numbers": "0.5",
    "strings": '"a"',
    "colours": '"red"',
    "bits": "0",
    "decimals": '"1.5"',
    "times": "0",
    "scalars": '"1"',
    "urls": '"a:b"',
    "wrapped": "0",
    "lenient": "null",
    "anything": "[]",
    "mappings": '{"a":{}}',
    "points": "{}",
    "checked": '{"x":0}',
    "pets": '{"kind":"cat"}',
    "trees": "{}",
    "loose": "{}",
    "lists": "{}",
    "defaults": "{}",
    "long": "{}",
}
"""A value for a field of `CostlyInput`, such as makes the most of it."""
_SAMPLE = 1000
_HEADING = "| Element of a list | For example | Counts | Microseconds | Bytes | Elements at most |"


def main() -> None:
    """Print the costs as a table in Markdown, or those of one field."""
    if len(sys.argv) > 1:
        print(_row(sys.argv[1]))
        return
    print(f"{_HEADING}\n| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for field in VALUES:
        subprocess.run([sys.executable, "-m", "benchmarks.validation", field], check=True)


def _row(field: str) -> str:
    """Validate the largest body that passes, and describe what an element of it cost."""
    schema = single_field(field)
    limit = ValueLimit(costs_of(schema), DEFAULT_MAXIMUM_VALUES)
    count, price = _most(limit, field), _price(schema, field)
    body = _body(field, count)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak of memory
    before, began = _peak_bytes(), time.process_time()
    try:
        kept = codec.parse(body, schema, limit)
    except InvalidInput as error:
        raise SystemExit(f"{field}: {error}") from None
    seconds, taken = time.process_time() - began, _peak_bytes() - before
    kind = str(CostlyInput.__annotations__[field]).replace("|", "\\|")
    del kept
    return (
        f"| `{kind}` | `{VALUES[field]}` | {price:.3g} | {seconds / count * 1e6:.2f} | "
        f"{taken / count:.0f} | {count} |"
    )


def _body(field: str, count: int) -> bytes:
    return f'{{"{field}":[{",".join([VALUES[field]] * count)}]}}'.encode()


def _price(schema: type, field: str) -> float:
    try:
        ValueLimit(costs_of(schema), 1).check(_body(field, _SAMPLE))
    except PayloadTooLarge as error:
        return int(str(error).partition("which count ")[2].split()[0]) / _SAMPLE
    return 0.0


def _most(limit: ValueLimit, field: str) -> int:
    low, high = 1, 2 * DEFAULT_MAXIMUM_VALUES
    while high - low > low // 10 + 1:
        count = (low + high) // 2
        try:
            limit.check(_body(field, count))
            low = count
        except PayloadTooLarge:
            high = count
    return low


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
