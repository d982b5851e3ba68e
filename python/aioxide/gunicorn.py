"""Workers for gunicorn: `gunicorn -k aioxide.gunicorn.AioxideUvicornWorker app:app`, and one for aiohttp."""

from __future__ import annotations

from typing import Any

from .installation import install


def _uvicorn_worker() -> type:
    from uvicorn_worker import UvicornWorker

    class AioxideUvicornWorker(UvicornWorker):
        """Serves an ASGI application with uvicorn on aioxide's loop. Needs the package uvicorn-worker."""

        CONFIG_KWARGS = {**UvicornWorker.CONFIG_KWARGS, "loop": "aioxide:new_event_loop"}  # noqa: RUF012

    return AioxideUvicornWorker


def _aiohttp_worker() -> type:
    from aiohttp.worker import GunicornWebWorker

    class AioxideAiohttpWorker(GunicornWebWorker):
        """Serves an aiohttp application on aioxide's loop."""

        def init_process(self) -> None:
            install()  # in the worker, after the fork
            super().init_process()

    return AioxideAiohttpWorker


_WORKERS = {"AioxideUvicornWorker": _uvicorn_worker, "AioxideAiohttpWorker": _aiohttp_worker}


def __getattr__(name: str) -> Any:
    # Made when asked for: each stands on a package that the other does not need.
    if name not in _WORKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    worker = _WORKERS[name]()
    worker.__module__, worker.__qualname__ = __name__, name
    globals()[name] = worker
    return worker
