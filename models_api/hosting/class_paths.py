"""From class paths to classes."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from types import ModuleType
from typing import TypeVar

from ml_base import MLModel, MLModelDecorator

from models_api.exceptions import ClassPathError
from models_api.logs import one_line

T = TypeVar("T")

_IMPORT_HINT = "Check that the module can be imported: `python -c 'import {module}'`."


def import_class(class_path: str, base: type[T]) -> type[T]:
    """Import the class at a dotted path.

    Raises:
        ClassPathError: the module is missing, raised, or lacks the name; or the class is no `base`.
    """
    module_path, _, name = class_path.rpartition(".")
    if not module_path or not all(part.isidentifier() for part in class_path.split(".")):
        hint = "Write module and class with dots between, such as my_package.models.MyModel."
        raise ClassPathError(f'"{class_path}" is not a class path', hint)
    module = _import_module(module_path)
    try:
        found: type[T] = getattr(module, name)
    except AttributeError:
        nearest = difflib.get_close_matches(name, dir(module), n=1)
        hint = (
            f"Did you mean {module_path}.{nearest[0]}?"
            if nearest
            else f"Define it in {module_path}."
        )
        message = f'the module {module_path} has no name "{name}"'
        raise ClassPathError(message, hint) from None
    _check_kind(class_path, found, base)
    abstract = set(getattr(found, "__abstractmethods__", ()))
    if has_no_init(found):
        abstract.discard("__init__")
    if abstract:
        names = ", ".join(sorted(abstract))
        raise ClassPathError(f"{class_path} does not define {names}", "Define them in the class.")
    # Without an `__init__` of its own Python would make no instance, nor copy or unpickle one.
    found.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
    return found


def has_no_init(cls: type) -> bool:
    """Return whether a class has no `__init__` but the one of ml_base, which only raises."""
    return cls.__init__ is MLModel.__init__  # type: ignore[misc]


def _check_kind(class_path: str, found: object, base: type) -> None:
    hint = f"Name a class that derives from {base.__module__.split('.')[0]}.{base.__name__}."
    if not isinstance(found, type):
        message = f"{class_path} is not a class (its type is {type(found).__name__})"
        raise ClassPathError(message, hint)
    if not issubclass(found, base):
        raise ClassPathError(f"{class_path} is not a subclass of {base.__name__}", hint)
    if base is MLModel and issubclass(found, MLModelDecorator):
        hint = "List it under the decorators of a model."
        raise ClassPathError(f"{class_path} is a decorator, not a model", hint)


def _import_module(module_path: str) -> ModuleType:
    hint = _IMPORT_HINT.format(module=module_path)
    try:
        return importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name and f"{module_path}.".startswith(f"{error.name}."):
            raise ClassPathError(
                f'there is no module "{error.name}"', _elsewhere(error.name)
            ) from error
        if error.name:
            message = f'{module_path} imports "{error.name}", and there is no such module'
            hint = "Install the package that provides it."
            raise ClassPathError(message, hint) from error
        raise ClassPathError(f"importing {module_path} raised {one_line(error)}", hint) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # A module of somebody else's can raise anything while it is imported.
        raise ClassPathError(f"importing {module_path} raised {one_line(error)}", hint) from error


def _elsewhere(missing: str) -> str:
    """Say where a missing module may be."""
    package, _, name = missing.rpartition(".")
    if package in sys.modules and not hasattr(sys.modules[package], "__path__"):
        return f"{package} is a module: write the name of one of its classes behind it."
    # None stands for sys.path.
    folders = getattr(sys.modules.get(package), "__path__", ()) if package else None
    names = {module.name for module in pkgutil.iter_modules(folders)}
    nearest = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.75)
    if nearest:
        return f"Did you mean {package}{'.' if package else ''}{nearest[0]}?"
    return "Install the package, or start the service in the folder that holds the module."
