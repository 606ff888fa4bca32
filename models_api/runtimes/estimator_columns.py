"""What a fitted estimator of scikit-learn tells of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags

from models_api.exceptions import ArtefactError
from models_api.runtimes.arrays import features
from models_api.runtimes.overrides import type_of
from models_api.runtimes.signature import Column, Label, ValueType

TEXT = "text"
"""Name of the column of a model that takes texts alone."""
_IMPUTERS = ("SimpleImputer", "KNNImputer", "IterativeImputer", "MissingIndicator")


@dataclass(frozen=True, slots=True)
class _Chain:
    """What some columns go through, one after the other."""

    columns: tuple[int, ...]
    steps: tuple[Any, ...]
    is_one: bool = False
    """Whether they are one column that is given as a list, not as a table."""


def names_of(estimator: Any) -> list[str] | None:
    """Return the names of the columns that an estimator was fitted on; None if it had none."""
    found = getattr(estimator, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]


def takes_texts(estimator: Any) -> bool:
    """Return whether an estimator takes a list of texts, as a pipeline with a vectorizer does."""
    try:
        tags = get_tags(_first_step(estimator)).input_tags
    except (AttributeError, TypeError):
        return False
    return bool(tags.string and not tags.two_d_array)


def _first_step(estimator: Any) -> Any:
    """Return what gets the rows as they come."""
    inner = getattr(estimator, "best_estimator_", None)
    if inner is not None:
        return _first_step(inner)
    if isinstance(estimator, Pipeline):
        return _first_step(estimator.steps[0][1])
    if isinstance(estimator, FeatureUnion):
        return _first_step(estimator.transformer_list[0][1])
    return estimator


def columns_of(estimator: Any) -> tuple[Column, ...]:
    """Return the columns of an estimator, as far as it tells.

    Raises:
        ArtefactError: it does not tell how many there are.
    """
    if takes_texts(estimator):
        return (Column(TEXT, "string"),)
    names, size = names_of(estimator), getattr(estimator, "n_features_in_", None)
    if size is None:
        message = f"the {type(estimator).__name__} does not tell how many columns it takes"
        raise ArtefactError(message, "Fit it on a DataFrame, or write a class for class_path.")
    chains = list(_chains(estimator, tuple(range(size)), names))
    columns = tuple(
        _column(names[index] if names else f"x{index}", index, chains) for index in range(size)
    )
    # What is passed on to code that nobody knows is, in an array, most likely a number.
    if names is None and all(column.type in ("number", "unknown") for column in columns):
        return features(size, nullable=all(column.nullable for column in columns))
    return columns


def _chains(
    estimator: Any,
    columns: tuple[int, ...],
    names: Sequence[str] | None,
    after: tuple[Any, ...] = (),
) -> Iterator[_Chain]:
    """Yield what each of the columns goes through."""
    inner = getattr(estimator, "best_estimator_", None)
    if inner is not None:
        yield from _chains(inner, columns, names, after)
    elif isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps]
        first, *rest = [step for step in steps if step is not None and not isinstance(step, str)]
        yield from _chains(first, columns, names, (*rest, *after))
    elif isinstance(estimator, FeatureUnion):
        for _, each in estimator.transformer_list:
            if not isinstance(each, str):
                yield from _chains(each, columns, names, after)
    elif isinstance(estimator, ColumnTransformer):
        yield from _chains_of_columns(estimator, columns, names, after)
    else:
        yield _Chain(columns, (estimator, *after))


def _chains_of_columns(
    transformer: Any,
    columns: tuple[int, ...],
    names: Sequence[str] | None,
    after: tuple[Any, ...],
) -> Iterator[_Chain]:
    for _, each, chosen in transformer.transformers_:
        if isinstance(each, str) and each == "drop":
            continue
        positions = _positions(chosen, columns, names)
        if isinstance(each, str):  # passed through
            yield _Chain(positions, after)
        elif isinstance(chosen, str | int):
            yield _Chain(positions, (each, *after), is_one=True)
        else:
            yield from _chains(each, positions, None, after)


def _positions(
    chosen: Any, columns: tuple[int, ...], names: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the positions of the columns that a ColumnTransformer names."""
    if isinstance(chosen, str | int):
        chosen = [chosen]
    known = pd.Index(names if names is not None else range(len(columns)))
    if isinstance(chosen, slice) and isinstance(chosen.start or chosen.stop, str):
        found = known.slice_indexer(chosen.start, chosen.stop)
    elif isinstance(chosen, slice):
        found = chosen
    else:
        listed = np.asarray(chosen)
        if listed.size and listed.dtype.kind in "OU":
            found = known.get_indexer(listed)
        else:
            found = listed if listed.size else []
    return tuple(np.asarray(columns)[found].tolist())


def _column(name: str, index: int, chains: Sequence[_Chain]) -> Column:
    """Return what is known of one column by all that it goes through."""
    found = [_told(chain, chain.columns.index(index)) for chain in chains if index in chain.columns]
    if not found:
        # No part of the model looks at it, and so any value does.
        return Column(name, "any", nullable=True, description="The model ignores it.")
    known = [each for each in found if each.type != "unknown"]
    told = next((each for each in known if each.categories), (known or found)[0])
    is_nullable = all(each.nullable for each in found)
    return Column(name, told.type, nullable=is_nullable, categories=told.categories)


@dataclass(frozen=True, slots=True)
class _Told:
    type: ValueType
    nullable: bool
    categories: tuple[Label, ...] = ()


def _told(chain: _Chain, position: int) -> _Told:
    """Return what a chain tells of its column at a position."""
    is_nullable, type_ = True, None
    for step in chain.steps:
        categories = getattr(step, "categories_", None)
        if categories is not None and position < len(categories):
            return _of_encoder(step, list(categories[position]), is_nullable)
        if isinstance(step, FunctionTransformer) and step.func is None:
            continue  # it passes on what it gets
        if not _is_known(step):
            return _Told("unknown", nullable=False)
        tags = get_tags(step).input_tags
        if type(step).__name__ in _IMPUTERS:
            type_ = _imputed_type(step)
            if type_ == "number" or not chain.steps[1:]:
                return _Told(type_ or "number", is_nullable)
            # Missing values end here; what the others are, the next step may tell.
            return _after_imputer(chain, step, position)
        if tags.string or chain.is_one:
            return _Told("string", nullable=False)
        is_nullable = is_nullable and bool(tags.allow_nan)
    return _Told(type_ or "number", is_nullable)


def _after_imputer(chain: _Chain, imputer: Any, position: int) -> _Told:
    rest = chain.steps[chain.steps.index(imputer) + 1 :]
    told = _told(_Chain(chain.columns, rest), position)
    type_ = "string" if told.type in ("number", "unknown") else told.type
    return _Told(type_, nullable=True, categories=told.categories)


def _of_encoder(encoder: Any, categories: list[Any], is_nullable: bool) -> _Told:
    known = [each for each in categories if not _is_missing(each)]
    labels = tuple(each.item() if hasattr(each, "item") else each for each in known)
    is_closed = getattr(encoder, "handle_unknown", "ignore") == "error"
    takes_missing = len(known) < len(categories) or not is_closed
    type_: ValueType = type_of(labels) if labels else "string"
    if type_ == "any":
        type_ = "unknown"
    closed = labels if is_closed and type_ != "number" else ()
    return _Told(type_, is_nullable and takes_missing, closed)


def _imputed_type(imputer: Any) -> ValueType | None:
    kind = getattr(getattr(imputer, "_fit_dtype", None), "kind", "f")
    return "number" if kind in "fiu" else None


def _is_known(step: Any) -> bool:
    """Return whether a step is one of scikit-learn's own that takes numbers unless it says else."""
    if isinstance(step, FunctionTransformer):
        return isinstance(step.func, np.ufunc)
    return type(step).__module__.startswith("sklearn.")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))
