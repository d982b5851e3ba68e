"""Tests of aioxide.http: each runs with aiohttp on asyncio's own loop, too, wherever aiohttp has the same."""
