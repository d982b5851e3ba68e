"""Databases and remote calls: asyncpg, redis-py, grpc.aio; and websockets, Tornado."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import grpc
import grpc.aio
import pytest
import redis.asyncio
import tornado.httpclient
import tornado.httpserver
import tornado.web
import websockets


def test_asyncpg(run: Any, postgres: str) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(host=postgres, user="test", database="postgres", min_size=2, max_size=5) as pool:
            await pool.execute("create table if not exists words (id serial, word text)")
            await pool.execute("truncate words")

            async def insert(number: int) -> None:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("insert into words (word) values ($1)", f"word {number}")

            await asyncio.gather(*map(insert, range(50)))
            assert await pool.fetchval("select count(*) from words") == 50
            async with pool.acquire() as connection:
                rows = [("copied",)] * 1000
                await connection.copy_records_to_table("words", records=rows, columns=["word"])
                async with connection.transaction():
                    found = [row async for row in connection.cursor("select word from words", prefetch=100)]
                assert len(found) == 1050

    run(main())


def test_asyncpg_notifications_timeouts_and_cancel(run: Any, postgres: str) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(host=postgres, user="test", database="postgres")
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await connection.add_listener("channel", lambda *arguments: heard.set_result(arguments[3]))
        await connection.execute("notify channel, 'payload'")
        assert await heard == "payload"
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("select pg_sleep(100)", timeout=0.05)
        assert await connection.fetchval("select 1") == 1
        watcher = await asyncpg.connect(host=postgres, user="test", database="postgres")
        task = asyncio.ensure_future(connection.execute("select pg_sleep(200)"))
        running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(200)'"
        while not await watcher.fetchval(running):
            pass
        await watcher.close()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await connection.fetchval("select 2") == 2
        await connection.close()

    run(main())


def test_redis(run: Any, redis_server: str) -> None:
    async def main() -> None:
        client = redis.asyncio.Redis(unix_socket_path=redis_server)
        await client.flushall()
        await asyncio.gather(*[client.incr("counter") for _ in range(100)])
        assert int(await client.get("counter")) == 100
        async with client.pipeline() as pipeline:
            for number in range(500):
                pipeline.set(f"key{number}", "x" * 1000)
            assert all(await pipeline.execute())
        await client.set("large", b"y" * 2_000_000)
        assert len(await client.get("large")) == 2_000_000
        subscriber = client.pubsub()
        await subscriber.subscribe("channel")
        await client.publish("channel", "message")
        async for message in subscriber.listen():
            if message["type"] == "message":
                assert message["data"] == b"message"
                break
        blocking = asyncio.ensure_future(client.blpop("list", 100))
        await asyncio.sleep(0)
        await client.rpush("list", "item")
        assert await blocking == (b"list", b"item")
        await subscriber.aclose()
        await client.aclose()

    run(main())


class Service(grpc.GenericRpcHandler):
    """Two methods without generated code."""

    def service(self, details: Any) -> Any:
        if details.method == "/test/Upper":
            return grpc.unary_unary_rpc_method_handler(self.upper)
        return grpc.stream_stream_rpc_method_handler(self.echo)

    async def upper(self, request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return request.upper()

    async def echo(self, requests: Any, context: Any) -> Any:
        async for request in requests:
            yield request


def test_grpc(run: Any) -> None:
    async def main() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Service(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            upper = channel.unary_unary("/test/Upper")
            assert await asyncio.gather(*[upper(b"word") for _ in range(50)]) == [b"WORD"] * 50
            call = channel.stream_stream("/test/Echo")()
            for number in range(20):
                await call.write(b"%d" % number)
                assert await call.read() == b"%d" % number
            await call.done_writing()
        await server.stop(None)

    run(main())


def test_websockets(run: Any) -> None:
    async def main() -> None:
        async def handle(socket: Any) -> None:
            async for message in socket:
                await socket.send(message)

        async with websockets.serve(handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]

            async def talk(number: int) -> None:
                async with websockets.connect(f"ws://127.0.0.1:{port}") as socket:
                    for size in (1, 1000, 100_000):
                        await socket.send(bytes([number]) * size)
                        assert await socket.recv() == bytes([number]) * size
                    await (await socket.ping())

            await asyncio.gather(*map(talk, range(20)))

    run(main())


class Hello(tornado.web.RequestHandler):
    """Answers after giving others a turn."""

    async def get(self) -> None:
        await asyncio.sleep(0)
        self.write("hello")


def test_tornado(run: Any) -> None:
    async def main() -> None:
        server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Hello)]))
        server.listen(0, "127.0.0.1")
        (listening,) = server._sockets.values()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        client = tornado.httpclient.AsyncHTTPClient(force_instance=True, max_clients=20)
        answers = await asyncio.gather(*[client.fetch(url) for _ in range(50)])
        assert {answer.body for answer in answers} == {b"hello"}
        client.close()
        server.stop()
        await server.close_all_connections()

    run(main())
