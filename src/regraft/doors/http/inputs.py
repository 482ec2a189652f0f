"""Parsing of request bodies into model inputs. Client data are never used as paths, and nothing is written to disk."""

import asyncio
import base64
import binascii
import contextlib
import json
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from http.client import HTTPException
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from regraft.contracts.example import Contents, Inline
from regraft.contracts.modality import Modality
from regraft.doors.http.batching import Input
from regraft.doors.http.settings import Refusal, Settings, allowed_url
from regraft.errors import BadRequest
from regraft.words import size

Given = TypeVar("Given", bound=Sequence[Any])

FETCH_S = 10.0
"""Timeout for each read from a URL, in seconds."""


class _InMemory(MultiPartParser):
    """Form parser that keeps files in memory; the size of a body is limited already."""

    spool_max_size = 1 << 62

    async def parse(self) -> FormData:
        """Parse the form; if it is malformed, free what was read."""
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
            raise


class Body:
    """The body of a request, which counts towards the memory limit of all bodies."""

    def __init__(self, gate: "Gate") -> None:
        self.data, self._gate, self._held = bytearray(), gate, 0

    def add(self, chunk: bytes) -> None:
        """Raises: Refusal: the body is too large, or all bodies together are."""
        self._gate.check(len(self.data) + len(chunk))
        if self._gate.held + len(chunk) > self._gate.settings.held:
            raise Refusal(503, "The server is receiving too many requests at once.", fix="try again in a second.")
        self._gate.held += len(chunk)
        self._held += len(chunk)
        self.data += chunk

    def release(self) -> None:
        """Free its memory; may be called more than once."""
        self._gate.held -= self._held
        self._held = 0


class Gate:
    """Limits for bodies: the size of each, the total size in a worker, and the time to arrive."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.held = settings, 0

    def check(self, length: int) -> None:
        """Raises: Refusal: a body of this many bytes is too large."""
        if length > self.settings.max_body:
            raise Refusal(
                413, f"The body is larger than {size(self.settings.max_body)}.", fix="send fewer or smaller inputs."
            )

    async def read(self, request: Request) -> Body:
        """Read the body; the caller releases it after use.

        Raises:
            Refusal: it is too large or took too long to arrive, or all bodies in memory are too large.
        """
        declared = request.headers.get("content-length", "")
        self.check(int(declared) if declared.isdecimal() else 0)
        body = Body(self)
        try:
            async with asyncio.timeout(self.settings.receive_s):
                async for chunk in request.stream():
                    body.add(chunk)
        except TimeoutError as error:
            body.release()
            raise Refusal(
                408, f"The body did not arrive within {self.settings.receive_s:g} seconds.", fix="send it faster."
            ) from error
        except BaseException:
            body.release()
            raise
        return body


def parsed_json(data: bytes | bytearray) -> Any:
    """Raises: BadRequest: it is not JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        said = f"{error}" if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise BadRequest(f"The body is not valid JSON: {said}.", fix="send JSON in UTF-8.") from error


class Reader:
    """Converts request bodies to inputs of one model."""

    def __init__(self, modality: Modality, example: Contents, settings: Settings) -> None:
        """`example` shows which contents an example of this model has."""
        self._modality, self._settings = modality, settings
        self._names = tuple(example)

    async def inputs(self, kind: str, headers: Headers, data: bytes | bytearray) -> list[Input]:
        """Return the inputs of a request to `predict`, according to the media type of its body.

        Raises:
            Refusal, BadRequest: they are not in the documented format, or too many.
        """
        if kind == "multipart/form-data":
            self.check_single()
            return self.checked(await self._of_form(headers, data))
        if kind in ("application/octet-stream", "text/plain") or kind.startswith(("image/", "audio/")):
            self.check_single()
            return [Input("0", self.content(bytes(data)))]
        if kind in ("application/json", ""):
            found = await asyncio.to_thread(parsed_json, data)
            given = found.get("inputs") if isinstance(found, dict) else None
            if not isinstance(given, list):
                raise BadRequest(
                    "The body has no list under `inputs`.", fix='send {"inputs": [{"base64": "…"}]}; see /docs.'
                )
            return await asyncio.gather(*(self._of_json(at, one) for at, one in enumerate(self.checked(given))))
        raise Refusal(
            415, f"The content type {kind[:80]!r} is not supported.",
            fix="send multipart/form-data, application/json or application/octet-stream; see /docs.",
        )  # fmt: skip

    def checked(self, given: Given) -> Given:
        """Raises: BadRequest: there are no inputs, or too many."""
        if not 0 < len(given) <= self._settings.max_inputs:
            raise BadRequest(
                f"The request has {len(given)} inputs; expected 1 to {self._settings.max_inputs}.",
                fix="send several requests." if given else "send at least one.",
            )
        return given

    def check_single(self) -> None:
        """Raises: BadRequest: an example of this model has several contents, and only one was sent."""
        if len(self._names) > 1:
            names = ", ".join(f'"{name}": …' for name in self._names)
            raise BadRequest(
                f"The model reads {len(self._names)} contents of each input.", fix=f'send {{"contents": {{{names}}}}}.'
            )

    def content(self, value: bytes | str) -> Any:
        """Convert one content from a request to an argument of `Bundle.prepare`.

        Raises:
            BadRequest: it is a text, and the model does not read texts.
        """
        if not self._modality.inline:
            if isinstance(value, str):
                raise BadRequest(
                    f"A string is not a valid {self._modality.one}.",
                    fix='send a file, or its bytes as {"base64": "…"}; see /docs.',
                )
            return value
        try:
            return value if isinstance(value, str) else value.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadRequest(f"The {self._modality.one} is not valid UTF-8.", fix="send it in UTF-8.") from error

    def text_or_bytes(self, text: str) -> Any:
        """Return the text itself if the model reads texts, otherwise the bytes that it encodes in base64."""
        return text if self._modality.inline else decoded(text)

    async def _of_form(self, headers: Headers, data: bytes | bytearray) -> list[Input]:
        async def whole() -> AsyncGenerator[bytes, None]:
            yield bytes(data)

        most = self._settings.max_inputs
        try:
            form = await _InMemory(
                headers, whole(), max_files=most, max_fields=most, max_part_size=self._settings.max_body
            ).parse()  # fmt: skip
        except (MultiPartException, UnicodeDecodeError, LookupError, ValueError) as error:
            said = error.message if isinstance(error, MultiPartException) else "it cannot be read"
            raise BadRequest(f"The form is damaged or too large: {said.rstrip('.')}.", fix="see /docs.") from error
        try:
            return [
                Input(value.filename or str(at), self.content(await value.read()))
                if isinstance(value, UploadFile)
                else Input(str(at), self.content(value))
                for at, (_, value) in enumerate(form.multi_items())
            ]
        finally:
            await form.close()

    async def _of_json(self, at: int, given: Any) -> Input:
        """Convert one input: a text, or an object with `base64`, `url`, or `contents` by name, and an optional `id`. A
        row of numbers is a list in the model's order of columns, or an object with `values` by column."""
        if self._modality.rows:
            return self._row(at, given)
        if isinstance(given, str):
            self.check_single()
            return Input(str(at), self.content(given))
        if not isinstance(given, dict):
            raise _odd(at, "expected an object")
        name = given.get("id", str(at))
        kinds = [key for key in given if key != "id"]
        if not isinstance(name, str) or len(kinds) != 1:
            raise _odd(at, "expected one of `base64`, `url` and `contents`, and optionally a string `id`")
        if kinds[0] != "contents":
            self.check_single()
            return Input(name, await self._value(at, {kinds[0]: given[kinds[0]]}))
        parts = given["contents"]
        if not isinstance(parts, dict) or set(parts) != set(self._names):
            raise _odd(at, f"expected the contents {', '.join(map(repr, self._names))}")
        return Input(name, {key: Inline(await self._value(at, parts[key])) for key in self._names})

    def _row(self, at: int, given: Any) -> Input:
        name = str(given.get("id", at)) if isinstance(given, dict) else str(at)
        values = given.get("values") if isinstance(given, dict) else given
        try:
            if isinstance(values, dict):
                numbers = np.array([[*values.values()]], dtype=np.float32)
                return Input(name, self._modality.of_rows([*map(str, values)], numbers)[0])
            if isinstance(values, list) and values:
                return Input(name, np.array(values, dtype=np.float32))
        except (TypeError, ValueError):
            pass
        raise _odd(at, 'expected a list of numbers, or {"values": {"COLUMN": NUMBER, …}}, with null for empty cells')

    async def _value(self, at: int, given: Any) -> Any:
        match given:
            case str():
                return self.content(given)
            case {"base64": str(text), **others} if not others:
                return self.content(await asyncio.to_thread(decoded, text))
            case {"url": str(url), **others} if not others:
                return self.content(await asyncio.to_thread(self._fetched, url))
        raise _odd(at, 'expected {"base64": "…"} or {"url": "…"}')

    def _fetched(self, url: str) -> bytes:
        """Fetch the bytes at a URL.

        Raises:
            Refusal, BadRequest: URLs are not allowed, or this one is not; or the response is empty or too large.
        """
        if not allowed_url(url, self._settings.url_prefixes):
            allowed = ", ".join(self._settings.url_prefixes)
            raise Refusal(
                403, "The server does not fetch this URL.",
                fix=f"send a URL that starts with {allowed}." if allowed else "send the bytes instead.",
            )  # fmt: skip
        with contextlib.suppress(OSError, ValueError, HTTPException):
            opener = urllib.request.build_opener(_NoRedirect)
            with opener.open(url, timeout=FETCH_S) as reply:
                data: bytes = reply.read(self._settings.max_body + 1)
            if len(data) <= self._settings.max_body:
                return data
            raise Refusal(413, "The content of the URL is too large.", fix="send a smaller input.")
        raise BadRequest("The URL could not be fetched.", fix="check it, or send the bytes instead.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: an allowed URL must not lead to one that is not."""

    def redirect_request(self, *_: Any) -> None:
        return None


def decoded(text: str) -> bytes:
    """Decode base64, in the standard or the URL-safe alphabet.

    Raises:
        BadRequest: it is not base64.
    """
    try:
        return base64.b64decode(text.translate(_USUAL), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(
            "The value is not valid base64.", fix="encode the whole file, without a data: prefix."
        ) from error


_USUAL = str.maketrans("-_", "+/", "\r\n")


def _odd(at: int, expected: str) -> BadRequest:
    return BadRequest(f"Input {at} is invalid: {expected}.", fix="see /docs for examples.")


def bytes_of_example(contents: Contents) -> tuple[bytes, str] | None:
    """Return the only content of an example as the bytes of a file, and its media type; None if it has several, or is
    not a file."""
    values = [content.value for content in contents.values() if isinstance(content, Inline)]
    match values:
        case [bytes() as data]:
            return data, "application/octet-stream"
        case [str() as text]:
            return text.encode(), "text/plain; charset=utf-8"
    return None
