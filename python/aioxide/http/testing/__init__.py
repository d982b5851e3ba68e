"""For tests of programs that make requests: answers by matcher, record and replay, an ASGI application in process.

As a pytest fixture, with `pytest_plugins = ["aioxide.http.testing.fixtures"]` in `conftest.py`:

    async def test_greeting(http_answers):
        http_answers.get("https://api.example.org/hello", json={"text": "hi"})
        assert await program.greeting() == "hi"
        assert http_answers.calls[0].headers["Authorization"] == "Bearer me"

The rest of the client is the real one: sessions, middlewares, cookies, redirects, decoding of JSON, exceptions.
"""

from .answers import Answers, Call, Route
from .asgi import ASGIConnector
from .recording import Recording

__all__ = ["ASGIConnector", "Answers", "Call", "Recording", "Route"]
