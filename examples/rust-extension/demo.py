"""Fetches pages that are slow to make, each once, and no faster than the site allows."""

import asyncio

import aioxide
from rust_extension import Cache, RateLimiter


async def main() -> None:
    limiter = RateLimiter(per_second=100, burst=2)
    made: list[str] = []

    async def make(page: str) -> str:
        await limiter.acquire()
        made.append(page)
        await asyncio.sleep(0.01)
        return page.upper()

    cache = Cache(make, capacity=10)
    pages = await asyncio.gather(*(cache.get(page) for page in ["a", "b", "a", "c", "b", "a"]))
    print(pages, "made of", made)


aioxide.run(main())
