"""What whoever hosts an artefact has to say before it is read: that they trust who made it."""

from __future__ import annotations

from collections.abc import Sequence

from models_api.configuration.sections import RuntimeName
from models_api.exceptions import ArtefactError
from models_api.runtimes.kinds import KINDS


class UntrustedArtefact(ArtefactError):
    """Reading the artefact could execute code of whoever made it."""


def require_trust(
    artefact: str, runtime: RuntimeName, types: Sequence[str], trusted: bool | Sequence[str]
) -> None:
    """Refuse an artefact that nobody trusts and that has to be.

    Args:
        artefact: Its name, or its address.
        runtime: Of which kind it is.
        types: Those in it that its library does not know to be harmless.
        trusted: Whether it is trusted, or the types that are.

    Raises:
        UntrustedArtefact: it is not.
    """
    if trusted is True:
        return
    if KINDS[runtime].executes_code:
        what = f"is {KINDS[runtime].title}" if runtime == "mlflow" else "holds a pickle"
        message = f"{artefact} {what}: whoever made it can have any code executed where it is read"
        hint = "If it comes from somebody you trust, say so: trusted: true"
        raise UntrustedArtefact(message, hint)
    unknown = [name for name in types if name not in (trusted or ())]
    if unknown:
        message = (
            f"{artefact} makes objects of types that {KINDS[runtime].needs[0]} does not know "
            f"to be harmless: {', '.join(unknown)}"
        )
        hint = f"If you know them to be, say so: trusted: [{', '.join(types)}]"
        raise UntrustedArtefact(message, hint)
