"""The classes of the transports: asyncio's, with their methods in Rust."""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio import constants, selector_events, sslproto, transports, unix_events
from typing import Any

from . import _aioxide

__all__ = ["DatagramTransport", "ReadPipeTransport", "SSLTransport", "StreamTransport", "WritePipeTransport"]


class StreamTransport(transports._FlowControlMixin):
    """A TCP or UNIX connection; made by the loop.

    asyncio: `_SelectorSocketTransport`; no difference but that the `socket` object of a connection that the loop
    itself has made or accepted is made when somebody asks for it.
    """

    # The Rust half; the slot becomes inaccessible when the class gets its methods.
    __slots__ = ("__dict__", "__weakref__", "_core")

    max_size = 256 * 1024
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE


_aioxide.equip_stream_transport(StreamTransport)


class ReadPipeTransport(unix_events._UnixReadPipeTransport):  # type: ignore[misc,name-defined]
    """The reading end of a pipe; made by the loop. asyncio: `_UnixReadPipeTransport`, read from in Rust."""


class WritePipeTransport(unix_events._UnixWritePipeTransport):  # type: ignore[misc,name-defined]
    """The writing end of a pipe; made by the loop. asyncio: `_UnixWritePipeTransport`, written to in Rust."""


class DatagramTransport(selector_events._SelectorDatagramTransport, asyncio.DatagramTransport):  # type: ignore[misc,name-defined]
    """A datagram socket; made by the loop. asyncio: `_SelectorDatagramTransport`, with its packets handled in Rust."""

    # The Rust half; the slot becomes inaccessible when the class gets its methods.
    __slots__ = ("_core",)

    def __init__(self, loop: Any, sock: socket.socket, *args: Any) -> None:
        _aioxide.prepare_datagram_transport(self, loop, sock.family)
        super().__init__(loop, sock, *args)  # type: ignore[call-arg]


_aioxide.equip_read_pipe_transport(ReadPipeTransport)
_aioxide.equip_write_pipe_transport(WritePipeTransport)
_aioxide.equip_datagram_transport(DatagramTransport)


class SSLTransport(sslproto._SSLProtocolTransport):
    """A TLS connection; made by the loop. asyncio: `_SSLProtocolTransport`, written to in Rust."""


if sys.version_info >= (3, 11):  # before, asyncio's TLS was built differently
    _aioxide.equip_tls_transport(SSLTransport)


def equipped_tls(transport: Any) -> Any:
    """Turns asyncio's transport of a TLS connection into ours."""
    if type(transport) is sslproto._SSLProtocolTransport:
        transport.__class__ = SSLTransport
    return transport
