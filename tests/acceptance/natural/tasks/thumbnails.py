"""Pictures are shrunk in a pool of threads, a gallery is made of them."""

from concurrent.futures import ThreadPoolExecutor

import world
from trigger_sdk import checkpoint, step, task


def shrink(name: str) -> dict:
    picture = world.get(f"/pictures/{name}")
    return {"name": name, "width": 200, "height": round(200 * picture["height"] / picture["width"])}


@task(id="thumbnails")
def thumbnails(names: list[str]):
    with ThreadPoolExecutor(max_workers=4) as pool:
        made = list(pool.map(lambda name: step(f"thumb-{name}", shrink, name), names))
    checkpoint("shrunk", {"made": made})

    gallery = world.post("/galleries", {"pictures": [thumb["name"] for thumb in made]})
    return {"gallery": gallery["id"], "height": max(thumb["height"] for thumb in made)}
