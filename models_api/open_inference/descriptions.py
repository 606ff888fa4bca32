"""How a hosted model is described to the protocol's clients: its tensors, rows first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models_api.api.bodies import (
    OpenInferenceConfig,
    OpenInferenceConfigTensor,
    OpenInferenceModel,
    OpenInferenceTensor,
)
from models_api.hosting.hosted_model import HostedModel
from models_api.open_inference.columns import ANY_LENGTH, Column, Columns, columns

PLATFORM = "ml_base"
_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def describe_model(
    model: HostedModel, maximum_rows: int, versions: Sequence[str] = ()
) -> OpenInferenceModel:
    """Describe the tensors that a model takes and gives.

    Args:
        model: The model, in one of its versions.
        maximum_rows: That a request may have.
        versions: All versions of it; by default that one only.

    Raises:
        ModelNotReady: the model has yet to say what it is.
    """
    details, (taken, given) = model.details, _columns(model)
    parameters: dict[str, Any] = {"max_rows": maximum_rows}
    if positional := taken.positional():
        parameters["positional"] = [column.name for column in positional]
    wholes = [key for key, each in (("input", taken), ("output", given)) if each.is_whole]
    if wholes:
        parameters["whole"] = wholes
    if taken.takes_others or taken.refuses_others:
        parameters["others"] = "taken" if taken.takes_others else "refused"
    return OpenInferenceModel(
        name=details.qualified_name,
        versions=list(versions) or [details.version],
        platform=PLATFORM,
        inputs=[_tensor(column) for column in taken],
        outputs=[_tensor(column) for column in given],
        parameters=parameters,
    )


def describe_config(model: HostedModel, maximum_rows: int) -> OpenInferenceConfig:
    """Describe the same in the form of Triton's configurations.

    Raises:
        ModelNotReady: the model has yet to say what it is.
    """
    taken, given = _columns(model)
    return OpenInferenceConfig(
        name=model.details.qualified_name,
        platform=PLATFORM,
        backend="python",
        max_batch_size=maximum_rows,
        input=[_config_tensor(column) for column in taken],
        output=[_config_tensor(column) for column in given],
    )


def list_tensors(columns: Columns) -> str:
    """List the tensors in Markdown."""
    return ", ".join(f"`{each.name}` ({_kind(each)} {_shape(each)})" for each in columns)


def _kind(column: Column) -> str:
    return "JSON in BYTES" if column.content_type == "json" else column.datatype


def _shape(column: Column) -> list[int]:
    return [ANY_LENGTH, *column.dimensions]


def _columns(model: HostedModel) -> tuple[Columns, Columns]:
    input_schema, output_schema = model.schemas
    return columns(input_schema, "validation"), columns(output_schema, "serialization")


def _tensor(column: Column) -> OpenInferenceTensor:
    parameters: dict[str, Any] = {
        "required": column.is_required,
        "nullable": column.is_nullable or column.holds_null,
    }
    if column.content_type:
        parameters["content_type"] = column.content_type
    return OpenInferenceTensor(
        name=column.name,
        datatype=column.datatype,
        shape=_shape(column),
        parameters=parameters,
    )


def _config_tensor(column: Column) -> OpenInferenceConfigTensor:
    # Triton has no dimensions of rows here, and at least one other.
    return OpenInferenceConfigTensor(
        name=column.name,
        data_type=_CONFIG_TYPES.get(column.datatype, f"TYPE_{column.datatype}"),
        dims=list(column.dimensions) or [1],
    )
