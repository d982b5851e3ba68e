"""The classes of the transports: asyncio's, with their methods in Rust."""

from __future__ import annotations

from asyncio import constants, transports

from . import _aioxide

__all__ = ["StreamTransport"]


class StreamTransport(transports._FlowControlMixin):  # type: ignore[misc,name-defined]
    """A TCP or UNIX connection; made by the loop.

    asyncio: `_SelectorSocketTransport`; no difference but that an accepted connection's `socket` object is made when
    somebody asks for it.
    """

    # The Rust half; the slot becomes inaccessible when the class gets its methods.
    __slots__ = ("__dict__", "__weakref__", "_core")

    max_size = 256 * 1024
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE  # type: ignore[attr-defined]


_aioxide.equip_stream_transport(StreamTransport)
