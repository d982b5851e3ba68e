import asyncio, time
import aiohttp  # or: from aioxide import http as aiohttp


async def download_site(session, url):
    async with session.get(url) as response:
        print("J" if "jython" in url else "R", end="", flush=True)


async def download_all_sites(sites):
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.ensure_future(download_site(session, url)) for url in sites]
        return await asyncio.gather(*tasks, return_exceptions=True)


sites = ["https://www.jython.org", "https://realpython.com"] * 80
start = time.time()
asyncio.run(download_all_sites(sites))
print(f"\nDownloaded {len(sites)} sites in {time.time() - start:.2f} seconds")
