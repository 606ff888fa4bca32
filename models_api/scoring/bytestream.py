"""The bytes of an input, in UTF-8 whatever its encoding is, without a byte order mark."""

from __future__ import annotations

import codecs
from typing import BinaryIO

from models_api.scoring.errors import JobRefused, JobStopped

_BLOCK = 2**20
_UTF8 = codecs.lookup("utf-8").name


class ByteStream:
    """Reads a file from an offset on; offsets are those of the text in UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str = "utf-8") -> None:
        """Make it.

        Raises:
            JobRefused: there is no such encoding.
        """
        try:
            found = codecs.lookup(encoding)
            "".encode(encoding)  # there are some that are not of text
        except LookupError:
            raise JobRefused(f'--encoding: Python knows no encoding "{encoding}".') from None
        self._file = file
        self._encoding = encoding
        self._is_utf8 = found.name == _UTF8
        self._bytes_read = 0
        self._ahead = b""
        self._is_first = True
        self._decoder = self._new_decoder()

    @property
    def bytes_read(self) -> int:
        """How far the file itself has been read."""
        return self._bytes_read

    def seek(self, offset: int) -> None:
        """Go to an offset of a file that can be read again."""
        self._file.seek(0)
        self._bytes_read, self._ahead, self._is_first = 0, b"", True
        self._decoder = self._new_decoder()
        if self._is_utf8:
            first = self.read()
            if offset > len(first):
                begin = self._bytes_read - len(first)
                self._file.seek(begin + offset)
                self._bytes_read = begin + offset
            else:
                self._ahead = first[offset:]
        else:
            self._skip(offset)

    def read(self) -> bytes:
        """Return what comes next, about a megabyte; nothing at the end.

        Raises:
            JobStopped: it is not in the encoding.
        """
        if self._ahead:
            found, self._ahead = self._ahead, b""
            return found
        found, raw = b"", b"more"
        # A byte order mark may come in parts.
        while raw and (not found or (self._is_first and len(found) < len(codecs.BOM_UTF8))):
            raw = self._file.read(_BLOCK)
            self._bytes_read += len(raw)
            found += self._converted(raw)
        if self._is_first:
            self._is_first = False
            return found.removeprefix(codecs.BOM_UTF8) or self.read()
        return found

    def _new_decoder(self) -> codecs.IncrementalDecoder:
        # Where each character has several bytes, none of those can stand for itself.
        is_wide = len("\n\n".encode(self._encoding)) != 2
        errors = "strict" if is_wide else "surrogateescape"
        return codecs.getincrementaldecoder(self._encoding)(errors)

    def _converted(self, raw: bytes) -> bytes:
        if self._is_utf8:
            return raw
        try:
            return self._decoder.decode(raw, final=not raw).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            message = f"The input is not in the encoding {self._encoding}: {error}."
            raise JobStopped(message) from None

    def _skip(self, offset: int) -> None:
        while offset > 0 and (found := self.read()):
            self._ahead = found[offset:]
            offset -= len(found)
