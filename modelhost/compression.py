"""Compresses answers for clients that accept it, where the settings ask for that."""

from __future__ import annotations

import re

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

_REFUSAL = re.compile(r"\bgzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")


class CompressionMiddleware(GZipMiddleware):
    """Compresses answers of MODELHOST_COMPRESS_MIN_BYTES or more, and files however long."""

    # They hide how long an answer is where it holds a secret beside what an attacker has chosen:
    # https://breachattack.com. Nothing here comes with somebody's cookies.
    max_random_bytes = 0

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Compress a response if it is long enough, and the client accepts that."""
        least = settings.MODELHOST_COMPRESS_MIN_BYTES
        if isinstance(response, HttpResponse) and len(response.content) < least:
            return response
        if _REFUSAL.search(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            patch_vary_headers(response, ("Accept-Encoding",))
            return response
        return super().process_response(request, response)
