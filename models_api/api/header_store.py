"""Headers of a response, without Django's look at each of them."""

from __future__ import annotations

from django.http.response import HttpResponseBase


def header_store(response: HttpResponseBase) -> dict[str, tuple[str, str]]:
    """Return where Django keeps the headers: name and value of each by its name in lower case.

    To set one the usual way makes Django look for line breaks and for characters that Latin-1 does
    not have, which for half a dozen headers takes a tenth of a prediction. So only what is known to
    have none may be put in here.
    """
    return response.headers._store
