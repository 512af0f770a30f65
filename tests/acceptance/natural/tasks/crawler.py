"""A site is crawled by an asynchronous client, each page as a step."""

import asyncio
from urllib.parse import urljoin

import httpx
import world
from trigger_sdk import checkpoint, step, task


@task(id="crawl")
async def crawl(start: str, limit: int = 20):
    client = httpx.AsyncClient(base_url=world.URL, timeout=10)

    async def fetch(path: str) -> list[str]:
        response = await client.get(path)
        response.raise_for_status()
        return [urljoin(path, link) for link in response.json()["links"]]

    seen = {start}
    frontier = [start]
    while frontier and len(seen) < limit:
        found = await asyncio.gather(*(step(f"page-{path}", fetch, path) for path in frontier))
        frontier = sorted({link for links in found for link in links} - seen)
        seen.update(frontier)
    await checkpoint("crawled", {"seen": seen})

    response = await client.post("/sitemaps", json={"pages": sorted(seen)})
    await client.aclose()
    return {"sitemap": response.json()["id"], "pages": len(seen)}
