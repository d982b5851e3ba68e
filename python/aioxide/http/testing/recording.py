"""Records what servers answer, and replays it without them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import ExitStack
from typing import Any

from .stand_in import Exchange, answer, in_place, pieces_of, whole_body

# What a file that is kept and shared must not hold.
_SECRETS = frozenset({"set-cookie", "www-authenticate", "proxy-authenticate"})


class Recording:
    """Records the answers of servers to a file, or replays those of it; for all sessions, as long as its block lasts.

    `mode`: "once" replays where the file exists and records where it does not; "record" records anew; "replay" never
    goes out. A request is known by its method, URL and body; those that are alike are answered in their order, and
    from then on by the last. One that is not in the file raises LookupError. The file is JSON; of requests it has
    only a digest of the body, and of answers no `Set-Cookie` unless `secrets` is true.

    >>> import os
    >>> import tempfile
    >>> from aioxide.http.testing import Recording
    >>> with tempfile.TemporaryDirectory() as folder, Recording(os.path.join(folder, "api.json")) as recording:
    ...     recording.is_replaying
    False
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: str = "once", secrets: bool = False) -> None:
        if mode not in {"once", "record", "replay"}:
            raise ValueError(f'mode is "once", "record" or "replay", not {mode!r}')
        self._path = os.fspath(path)
        self._secrets = secrets
        self.is_replaying = mode == "replay" or (mode == "once" and os.path.exists(self._path))
        self._entries: list[dict[str, Any]] = []
        self._taken: dict[tuple[str, str, str], int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Recording:
        if self.is_replaying:
            with open(self._path, encoding="utf-8") as file:
                self._entries = json.load(file)["exchanges"]
        self._stack.enter_context(in_place(self._exchange, "Recording has no websockets"))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        self._stack.close()
        if self.is_replaying or kind is not None:
            return
        beside = f"{self._path}.part"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump({"exchanges": self._entries}, file, indent=1)
        os.replace(beside, self._path)

    def _exchange(self, real: Exchange) -> Exchange:
        async def exchange(  # noqa: PLR0917
            connector: Any,
            request: Any,
            response: Any,
            headers: list[tuple[str, str]],
            body: Any,
            length: int | None,
            seconds: tuple[float | None, ...],
            decompress: bool,
        ) -> None:
            sent = await whole_body(body)
            key = (request.method, str(request.url), hashlib.sha256(sent).hexdigest())
            if not self.is_replaying:
                again = None if body is None else sent if isinstance(body, bytes) else pieces_of(sent)
                arguments = (headers, again, length, seconds, decompress)
                self._entries.append(await self._record(real, connector, request, type(response)(), key, arguments))
            entry = self._entries[-1] if not self.is_replaying else self._find(key)
            content = base64.b64decode(entry["body"])
            pairs = [(name, value) for name, value in entry["headers"]]
            answer(response, request, entry["status"], pairs, content, entry["reason"])

        return exchange

    async def _record(  # noqa: PLR0917
        self, real: Exchange, connector: Any, request: Any, inner: Any, key: tuple[str, str, str], arguments: Any
    ) -> dict[str, Any]:
        inner.method = request.method
        inner._request = request
        headers, *rest = arguments
        await real(connector, request, inner, headers, *rest)
        content = await inner.read()
        pairs = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in inner.raw_headers]
        kept = [[name, value] for name, value in pairs if self._secrets or name.lower() not in _SECRETS]
        return {
            "method": key[0],
            "url": key[1],
            "sha256": key[2],
            "status": inner.status,
            "reason": inner.reason,
            "headers": kept,
            "body": base64.b64encode(content).decode(),
        }

    def _find(self, key: tuple[str, str, str]) -> dict[str, Any]:
        alike = [entry for entry in self._entries if (entry["method"], entry["url"], entry["sha256"]) == key]
        if not alike:
            raise LookupError(f"{key[0]} {key[1]} with this body is not in {self._path}: record it anew (mode=record)")
        place = self._taken.get(key, 0)
        self._taken[key] = place + 1
        return alike[min(place, len(alike) - 1)]
