"""Asks a monitor's socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any


def ask(path: str | os.PathLike[str], **question: Any) -> dict[str, Any]:
    """One question, one answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(os.fspath(path))
        connection.sendall(json.dumps(question).encode() + b"\n")
        with connection.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
            return answer
