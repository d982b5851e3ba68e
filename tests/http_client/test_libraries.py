"""Libraries that stand on aiohttp, with aioxide.http in its place."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

# aiohttp's own modules are not there to be imported: their names come from the package, or are types alone.
IN_PLACE = """
import asyncio, json, sys, types
import aioxide
from aioxide import http
from aioxide.http.headers import AGENT

OTHERS = {"SERVER_SOFTWARE": AGENT, "StrOrURL": object, "LooseHeaders": object, "LooseCookies": object}
sys.modules["aiohttp"] = http
sys.modules["aiohttp.hdrs"] = http.hdrs
for name in "client client_exceptions client_reqrep connector typedefs helpers http abc formdata".split():
    module = types.ModuleType("aiohttp." + name)
    module.__getattr__ = lambda name: OTHERS[name] if name in OTHERS else getattr(http, name)
    sys.modules[module.__name__] = module

from http_client.scripted import plain, scripted

def answer(value):
    return plain(json.dumps(value).encode(), kind=b"application/json")
"""

RETRY = """
from aiohttp_retry import ExponentialRetry, RetryClient

async def main():
    failed = b"HTTP/1.1 503 Busy\\r\\nContent-Length: 0\\r\\n\\r\\n"
    async with scripted(failed, failed, plain()) as server:
        async with RetryClient(retry_options=ExponentialRetry(attempts=4, start_timeout=0.01)) as client:
            async with client.get(server.url) as response:
                assert (response.status, await response.text(), len(server.requests)) == (200, "hello", 3)
"""

GQL = """
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport

async def main():
    async with scripted(answer({"data": {"hello": "world"}})) as server:
        async with Client(transport=AIOHTTPTransport(url=server.url)) as session:
            assert await session.execute(gql("{ hello }")) == {"hello": "world"}
"""

AIOGRAM = """
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import BufferedInputFile

async def main():
    me = {"ok": True, "result": {"id": 1, "is_bot": True, "first_name": "bot"}}
    message = {"ok": True, "result": {"message_id": 7, "date": 0, "chat": {"id": 1, "type": "private"}}}
    async with scripted(answer(me), answer(message)) as server:
        bot = Bot("1:abc", session=AiohttpSession(api=TelegramAPIServer.from_base(server.url)))
        assert (await bot.get_me()).first_name == "bot"
        assert (await bot.send_document(1, BufferedInputFile(b"data" * 1000, "a.txt"))).message_id == 7
        assert b"data" * 1000 in server.requests[1][1]
        await bot.session.close()
"""


@pytest.mark.parametrize(("library", "program"), [("aiohttp_retry", RETRY), ("gql", GQL), ("aiogram", AIOGRAM)])
def test_libraries(library: str, program: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    script = tmp_path / "program.py"
    tests = str(Path(__file__).parent.parent)
    script.write_text(f"import sys\nsys.path.insert(0, {tests!r})\n{IN_PLACE}{program}\naioxide.run(main())\n")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
