"""The SDKs of openai and anthropic over our transport, against a fake of their servers."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web

from .conftest import Client


async def completions(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    assert request.headers["Authorization"] == "Bearer key"
    base = {"id": "1", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "hello"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return web.json_response(base | {"object": "chat.completion", "choices": [choice]})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for word in ("one ", "two ", "three"):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        piece = base | {"object": "chat.completion.chunk", "choices": [choice]}
        await response.write(f"data: {json.dumps(piece)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def test_openai(ours: Client) -> None:
    openai = pytest.importorskip("openai")
    httpx = httpx_of(openai)

    async def main(http: ModuleType, url: str) -> None:
        client = openai.AsyncOpenAI(
            api_key="key", base_url=url, max_retries=0, http_client=httpx.AsyncClient(transport=http.Transport())
        )
        messages: Any = [{"role": "user", "content": "hi"}]
        answer = await client.chat.completions.create(model="m", messages=messages)
        assert answer.choices[0].message.content == "hello"
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        words = [piece.choices[0].delta.content async for piece in stream]
        assert words == ["one ", "two ", "three"]
        await client.close()

    ours.run(main, web.post("/chat/completions", completions))


def httpx_of(module: Any) -> ModuleType:
    """The httpx that an SDK stands on."""
    import importlib

    for name in ("httpx2", "httpx"):
        if any(name in repr(base) for base in module.DefaultAsyncHttpxClient.__mro__):
            return importlib.import_module(name)
    raise LookupError(module)


async def anthropic_messages(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    base = {"id": "1", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    usage = {"input_tokens": 1, "output_tokens": 1}
    if not asked.get("stream"):
        content = [{"type": "text", "text": "hello"}]
        return web.json_response(base | {"content": content, "stop_reason": "end_turn", "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": base | {"content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "two"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    for event in events:
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response


def test_anthropic(ours: Client) -> None:
    anthropic = pytest.importorskip("anthropic")
    httpx = httpx_of(anthropic)

    async def main(http: ModuleType, url: str) -> None:
        client = anthropic.AsyncAnthropic(
            api_key="key", base_url=url, max_retries=0, http_client=httpx.AsyncClient(transport=http.Transport())
        )
        options: Any = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
        answer = await client.messages.create(**options)
        assert answer.content[0].text == "hello"
        async with client.messages.stream(**options) as stream:
            assert [text async for text in stream.text_stream] == ["one ", "two"]
        await client.close()

    ours.run(main, web.post("/v1/messages", anthropic_messages))
