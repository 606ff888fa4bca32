"""Programs of torch.export predict over the service what PyTorch computes in a process."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_api.exceptions import ConfigurationError
from tests.runtimes.libraries import skip_without
from tests.runtimes.serving import ArtefactService, Row

skip_without("torch")
pytestmark = [pytest.mark.long, pytest.mark.measured]

import torch  # noqa: E402
from torch.export import Dim, export, save  # noqa: E402

random = np.random.default_rng(0)
SIZE = 50
BATCH = Dim("batch")
LABELS = ["setosa", "versicolor", "virginica"]


def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def floats(*shape: int) -> torch.Tensor:
    return torch.tensor(random.normal(size=shape).astype(np.float32))


def saved(module: torch.nn.Module, folder: Path, *args: Any, **options: Any) -> Path:
    path = folder / "model.pt2"
    save(export(module, args, **options), path)
    return path


def served(module: torch.nn.Module, folder: Path, *args: Any, **options: Any) -> ArtefactService:
    return ArtefactService(saved(module, folder, *args, **options), trusted=True)


def rows_of(**tensors: torch.Tensor) -> list[Row]:
    columns = [tensor.tolist() for tensor in tensors.values()]
    return [dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)]


def assert_predicts(service: ArtefactService, rows: list[Row], run: Any) -> None:
    """See that rows are predicted as `run` predicts them, one by one and together."""
    assert [service.predict(row) for row in rows[:10]] == [run([row])[0] for row in rows[:10]]
    together = run(rows)
    assert service.predict_batch(rows) == together
    assert service.infer(rows) == together


class Several(torch.nn.Module):
    """Takes tensors of several types, nested, and a constant; gives others."""

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, more: dict[str, torch.Tensor], twice: bool
    ) -> Any:
        found = ids.double() * mask
        return {
            "total": found.sum(1),
            "any": mask.any(1),
            "parts": [found, (more["size"] * 2).to(torch.int32)],
            "nothing": None,
        }


def test_a_network_with_a_dynamic_batch_and_names_for_its_classes(tmp_path: Path) -> None:
    module, data = linear(), floats(SIZE, 4)
    path = saved(module, tmp_path, data, dynamic_shapes=({0: BATCH},))
    columns = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "model_width"]
    service = ArtefactService(path, trusted=True, columns=columns, labels=LABELS)

    def run(rows: list[Row]) -> list[Any]:
        with torch.inference_mode():
            found = module(torch.tensor([list(row.values()) for row in rows])).tolist()
        return [{"output": dict(zip(LABELS, row, strict=True))} for row in found]

    assert_predicts(service, [dict(zip(columns, row, strict=True)) for row in data.tolist()], run)
    service.refuse({**dict.fromkeys(columns, 0), columns[0]: 1e39})


def test_several_inputs_and_outputs_of_several_types(tmp_path: Path) -> None:
    ids = torch.tensor(random.integers(0, 100, (SIZE, 5)))
    mask = torch.tensor(random.random((SIZE, 5)) > 0.5)
    size = torch.tensor(random.integers(0, 100, (SIZE, 1))).to(torch.int16)
    shapes = {"ids": {0: BATCH}, "mask": {0: BATCH}, "more": {"size": {0: BATCH}}, "twice": None}
    service = served(Several(), tmp_path, ids, mask, {"size": size}, True, dynamic_shapes=shapes)

    def run(rows: list[Row]) -> list[Any]:
        found = Several()(
            torch.tensor([row["ids"] for row in rows]),
            torch.tensor([row["mask"] for row in rows]),
            {"size": torch.tensor([[row["more_size"]] for row in rows], dtype=torch.int16)},
            True,
        )
        named = {
            "total": found["total"],
            "any": found["any"],
            "parts_0": found["parts"][0],
            "parts_1": found["parts"][1][:, 0],
        }
        return rows_of(**named)

    assert_predicts(service, rows_of(ids=ids, mask=mask, more_size=size[:, 0]), run)
    row = {"ids": [1] * 5, "mask": [True] * 5, "more_size": 40_000}
    service.refuse(row)
    service.refuse({**row, "more_size": 1, "ids": [1] * 4})


class Running(torch.nn.Module):
    """Takes sequences of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x).cumsum(1)


def test_sequences_of_several_lengths_are_predicted_each_by_itself(tmp_path: Path) -> None:
    module, data = Running().eval(), floats(4, 5, 3)
    service = served(module, tmp_path, data, dynamic_shapes=({0: BATCH, 1: Dim("length")},))
    rows: list[Row] = [
        {"x": row.tolist()[:size]} for row, size in zip(data, (2, 3, 4, 5), strict=True)
    ]
    with torch.inference_mode():
        expected = [{"output": module(torch.tensor([row["x"]]))[0].tolist()} for row in rows]
    assert service.predict_batch(rows) == expected
    assert [service.predict(row) for row in rows] == expected


@pytest.mark.parametrize(("least", "most"), [(1, 7), (3, 7), (2, None)])
def test_no_more_and_no_fewer_rows_are_computed_at_once_than_the_program_takes(
    least: int, most: int | None, tmp_path: Path
) -> None:
    module, data = linear(), floats(SIZE, 4)
    batch = Dim("batch", min=least, max=most)
    service = served(module, tmp_path, data[:5], dynamic_shapes=({0: batch},))
    with torch.inference_mode():
        expected = [{"output": row} for row in module(data).tolist()]
    rows = [{"input": row} for row in data.tolist()]
    found = [service.predict(row) for row in rows[:3]]
    assert np.allclose([e["output"] for e in found], [e["output"] for e in expected[:3]], atol=1e-6)
    found = service.predict_batch(rows)
    assert np.allclose([e["output"] for e in found], [e["output"] for e in expected], atol=1e-6)


def test_a_batch_dimension_that_is_fixed_at_one_is_filled_row_by_row(tmp_path: Path) -> None:
    module, data = linear(), floats(SIZE, 4)
    service = served(module, tmp_path, data[:1])
    with torch.inference_mode():
        expected = [{"output": module(row[None])[0].tolist()} for row in data]
    rows = [{"input": row} for row in data.tolist()]
    assert service.predict_batch(rows) == expected
    assert service.infer(rows) == expected


class Spread(torch.nn.Module):
    """Has no dimension for rows."""

    def forward(self, x: torch.Tensor) -> Any:
        return x.mean(0), x.max() - x.min()


@pytest.mark.parametrize("shapes", [None, ({0: Dim("points")},)])
def test_tensors_without_rows_are_one_value_each(shapes: Any, tmp_path: Path) -> None:
    data = floats(6, 5, 2)
    service = served(Spread(), tmp_path, data[0], dynamic_shapes=shapes)
    rows = [{"x": each} for each in data.tolist()]
    expected = [
        {"output_0": mean.tolist(), "output_1": width.item()} for mean, width in map(Spread(), data)
    ]
    assert service.predict_batch(rows) == expected
    if shapes:
        found = service.predict({"x": data[0, :3].tolist()})
        assert found["output_0"] == data[0, :3].mean(0).tolist()
    else:
        service.refuse({"x": data[0, :3].tolist()})


def test_halves_are_taken_and_given(tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
            return a + a, b + b

    given = (floats(2, 3).half(), floats(2, 3).bfloat16())
    service = served(Doubled(), tmp_path, *given, dynamic_shapes=({0: BATCH}, {0: BATCH}))
    expected = rows_of(output_0=given[0] * 2, output_1=given[1].float() * 2)
    service.assert_predicts(rows_of(a=given[0], b=given[1].float()), expected)


def test_what_the_program_refuses_is_refused_with_its_reason(tmp_path: Path) -> None:
    module = torch.nn.Embedding(3, 2)
    service = served(module, tmp_path, torch.tensor([0, 1]), dynamic_shapes=({0: BATCH},))
    assert len(service.predict({"input": 2})["output"]) == 2
    assert "index out of range" in service.refuse({"input": 3})["messages"][0]


class Counting(torch.nn.Module):
    """Gives something else each time."""

    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> Any:
        self.count.add_(1)
        return x + self.count


class Complex(torch.nn.Module):
    """Gives no number of JSON."""

    def forward(self, x: torch.Tensor) -> Any:
        return torch.complex(x, x)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Counting(), "changes its own buffers"),
        (torch.nn.BatchNorm1d(3), "changes its own buffers"),
        (Complex(), "complex64, which has no JSON"),
    ],
)
def test_what_cannot_be_served_is_said_why(
    module: torch.nn.Module, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        served(module, tmp_path, floats(2, 3), dynamic_shapes=({0: BATCH},))


def test_it_is_read_only_if_somebody_trusts_it(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path, floats(2, 4))
    with pytest.raises(ConfigurationError, match="can have any code executed"):
        ArtefactService(path)


def test_a_program_of_another_version_says_so(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path, floats(2, 4))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    (name,) = [name for name in content if name.endswith("models/model.json")]
    program = json.loads(content[name])
    program["schema_version"]["major"] = 99
    content[name] = json.dumps(program).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in content.items():
            archive.writestr(each, data)
    with pytest.raises(ConfigurationError, match=r"cannot read(.|\n)*Install the version"):
        ArtefactService(path, trusted=True)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: torch.jit.save(torch.jit.script(linear()), path), "a model of TorchScript"),
        (lambda path: torch.save(linear().state_dict(), path), "what torch.save wrote"),
    ],
)
def test_other_files_of_pytorch_are_called_by_their_names(
    write: Any, said: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "model.pt"
    write(path)
    with pytest.raises(ConfigurationError, match=rf"{said}(.|\n)*torch.export.save"):
        ArtefactService(path, trusted=True)
