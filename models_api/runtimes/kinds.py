"""Which kinds of artefacts there are, and which of them a file is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from models_api.configuration.sections import RuntimeName
from models_api.exceptions import ArtefactError
from models_api.runtimes import zip_archives
from models_api.runtimes.signature import Signature

_HEAD_BYTES = 256


class ArtefactPredictor(Protocol):
    """Predicts with an artefact that has been read. May be called from several threads."""

    def predict(self, columns: Mapping[str, Any], wanted: Sequence[str]) -> Mapping[str, Any]:
        """Return an array or list with a value for each row, for each of the wanted outputs.

        Args:
            columns: An array for each column of the signature, by its name and in its order.
            wanted: Names of outputs.
        """


class Runtime(Protocol):
    """The module of one kind of artefact, which imports its library."""

    def describe(self, path: Path) -> Signature:
        """Return what the artefact says of itself.

        Raises:
            ArtefactError: it cannot be read.
        """

    def load(self, path: Path, signature: Signature) -> ArtefactPredictor:
        """Read the artefact.

        Args:
            path: Where it is.
            signature: What it takes and gives, with what the configuration says otherwise.

        Raises:
            ArtefactError: it cannot be read, or does not fit the signature.
        """


class RuntimeOfTypes(Runtime, Protocol):
    """The module of a kind whose library lists of which types it makes objects."""

    def untrusted_types(self, path: Path) -> tuple[str, ...]:
        """Return the types in an artefact that are not known to be harmless, and make none.

        Raises:
            ArtefactError: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artefact."""

    title: str
    module: str
    """Of this package; imported only where an artefact of the kind is read."""
    needs: tuple[str, ...]
    """Packages that it imports."""
    beginning: re.Pattern[bytes]
    """What a file of the kind begins with."""
    suffixes: tuple[str, ...]
    """Of files that do not show by their beginning of which kind they are."""
    member: re.Pattern[str] | None = None
    """What a zip archive of the kind holds."""
    executes_code: bool = False
    """Whether whoever wrote the file can have code executed where it is read."""
    names_types: bool = False
    """Whether its module is a `RuntimeOfTypes`."""
    describes_without_library: bool = False
    """Whether the module itself imports none of the packages, and reads what it can without."""
    extra: str = ""
    """That installs what it needs; without it, the one that is called as the kind."""

    def is_shown_by(self, head: bytes, members: Sequence[str]) -> bool:
        """Return whether a file is of this kind.

        Args:
            head: What it begins with.
            members: What it holds, if it is a zip archive.
        """
        if not self.beginning.match(head):
            return False
        return self.member is None or any(map(self.member.fullmatch, members))


KINDS: dict[RuntimeName, Kind] = {
    "onnx": Kind(
        "ONNX",
        "onnx",
        ("onnxruntime", "numpy"),
        re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a\x42\x72]|.{4}ORTM", re.DOTALL),
        (".onnx",),
    ),
    "sklearn": Kind(
        "scikit-learn, by joblib or pickle",
        "scikit_learn",
        ("sklearn", "pandas"),
        # A pickle, plain or compressed by zlib, gzip, bz2, xz, lzma or lz4.
        re.compile(
            rb"\x80[\x02-\x05]|\x78[\x01\x5e\x9c\xda]|\x1f\x8b|BZh|\xfd7zXZ|\x5d\x00\x00|\x04\x22M\x18"
        ),
        (".joblib", ".pkl", ".pickle"),
        executes_code=True,
    ),
    "skops": Kind(
        "scikit-learn, by skops",
        "skops",
        ("skops", "sklearn", "pandas"),
        zip_archives.BEGINNING,
        (),
        member=re.compile(r"schema\.json"),
        names_types=True,
    ),
    "lightgbm": Kind("LightGBM", "lightgbm", ("lightgbm", "numpy"), re.compile(rb"tree\r?\n"), ()),
    "xgboost": Kind(
        "XGBoost",
        "xgboost",
        ("xgboost", "numpy"),
        re.compile(rb"\s*\{\s*\"learner\"|\{L.{8}learner", re.DOTALL),
        (".ubj",),
    ),
    "catboost": Kind("CatBoost", "catboost", ("catboost", "numpy"), re.compile(rb"CBM1"), ()),
    "torch_export": Kind(
        "PyTorch, by torch.export",
        "torch_export",
        ("torch", "numpy"),
        zip_archives.BEGINNING,
        (),
        member=re.compile(r"([^/]+/)?models/[^/]+\.json|serialized_exported_program\.json"),
        executes_code=True,
        extra="torch",
    ),
    "mlflow": Kind(
        "a model of MLflow",
        "mlflow",
        ("mlflow", "pandas"),
        re.compile(rb"(?!)"),  # it is a folder
        (),
        executes_code=True,
        describes_without_library=True,
    ),
}
_MLMODEL = "MLmodel"
"""File in the folder of each model of MLflow."""
_ALTERNATIVE = "Convert it to ONNX, or write a class that loads it and name that in class_path."
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"version https://git-lfs"),
        "a pointer of Git LFS, not the file itself",
        "Fetch the file: git lfs pull",
    ),
    (re.compile(rb"\x89HDF"), "an HDF5 file, as Keras saves models in", _ALTERNATIVE),
    (re.compile(rb"binf|bs64"), "a model of XGBoost in its old binary format", "Save it as .ubj."),
    (
        re.compile(rb"\s*<(!DOCTYPE|html)", re.IGNORECASE),
        "a web page, not a model",
        "Download the file itself.",
    ),
)


def kind_of(path: Path, named: RuntimeName | None = None) -> RuntimeName:
    """Return of which kind a file is, by its content rather than its name.

    Args:
        path: The file.
        named: What the configuration calls it.

    Raises:
        ArtefactError: there is no such file, or it is of another kind than it is called, or of
            none that is known.
    """
    if path.is_dir() or path.name == _MLMODEL:
        return _kind_of_folder(path, named)
    head = _head(path)
    is_zip = zip_archives.BEGINNING.match(head)
    members = zip_archives.names_of_members(path) if is_zip else []
    found = next((name for name, kind in KINDS.items() if kind.is_shown_by(head, members)), None)
    if found is None:
        _refuse_others(path, head, members)
    if named is not None and found not in (None, named):
        message = f"{path.name} is no file of the kind {named}: it looks like {found}"
        raise ArtefactError(message, f"Write runtime: {found}", key="runtime")
    name = found or named or _by_suffix(path)
    if name is None:
        kinds = ", ".join(f"{name} ({kind.title})" for name, kind in KINDS.items())
        message = f"{path.name} is of no kind that is known here"
        raise ArtefactError(message, f"There are {kinds}. {_ALTERNATIVE}")
    return name


def _refuse_others(path: Path, head: bytes, members: Sequence[str]) -> None:
    """Raise what to do with a file that is known, but of no kind that can be served."""
    if members:
        what, hint = zip_archives.described(members)
        raise ArtefactError(f"{path.name} is {what}", hint)
    for beginning, what, hint in _OTHERS:
        if beginning.match(head):
            raise ArtefactError(f"{path.name} is {what}", hint)


def runtime_of(name: RuntimeName) -> Runtime:
    """Import what reads artefacts of a kind.

    Raises:
        ArtefactError: its library is not installed, or cannot be imported.
    """
    kind = KINDS[name]
    if kind.describes_without_library:
        return cast("Runtime", import_module(f"{__package__}.{kind.module}"))
    return cast("Runtime", imported(name, kind.module))


def imported(name: RuntimeName, module: str) -> Any:
    """Import a module of this package that imports the packages of a kind.

    Raises:
        ArtefactError: one of them is not installed, or cannot be imported.
    """
    kind = KINDS[name]
    command = f'pip install "modelhost[{kind.extra or name}]"'
    for package in kind.needs:
        if find_spec(package) is None:
            message = f"{kind.title} needs {package}, which is not installed"
            raise ArtefactError(message, f"Install it: {command}")
    try:
        return import_module(f"{__package__}.{module}")
    except ImportError as error:
        message = f"{kind.needs[0]} cannot be imported: {error}"
        raise ArtefactError(message, f"Install it anew: {command}") from error


def _kind_of_folder(path: Path, named: RuntimeName | None) -> RuntimeName:
    if path.name == _MLMODEL and path.is_file():
        hint = "Name its folder: all of it is the model."
        raise ArtefactError(f"{path} is a part of a model of MLflow", hint)
    if (path / _MLMODEL).is_file():
        if named not in (None, "mlflow"):
            message = f"{path.name} is no file of the kind {named}: it is a model of MLflow"
            raise ArtefactError(message, "Write runtime: mlflow", key="runtime")
        return "mlflow"
    within = next(iter(sorted(path.glob(f"*/{_MLMODEL}"))), None)
    if within is not None:
        hint = f"Name the folder of the model in it: {path / within.parent.name}"
    elif named == "mlflow":
        hint = f"Name the folder with the file {_MLMODEL}, or copy the whole folder again."
    else:
        hint = "Name the file in it."
    raise ArtefactError(f"{path} is a folder without a file {_MLMODEL}", hint)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        hint = "Write the path of the file, from the folder of this configuration."
        raise ArtefactError(f"there is no file {path}", hint) from None
    except IsADirectoryError:
        raise ArtefactError(f"{path} is a folder", "Name the file in it.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{path} cannot be read ({reason})"
        raise ArtefactError(message, "Let the user of the service read it.") from error
    if not head:
        raise ArtefactError(f"{path} is empty", "Save or copy the model again.")
    return head


def _by_suffix(path: Path) -> RuntimeName | None:
    suffix = path.suffix.lower()
    return next((name for name, kind in KINDS.items() if suffix in kind.suffixes), None)
