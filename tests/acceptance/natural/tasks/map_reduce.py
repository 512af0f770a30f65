"""Words of many documents are counted in processes of their own, then added up."""

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add

import world
from trigger_sdk import checkpoint, task


def count_words(text: str) -> Counter:
    return Counter(text.lower().split())


@task(id="count-words")
def count_documents(documents: list[str], top: int = 3):
    texts = [world.get(f"/documents/{name}")["text"] for name in documents]
    checkpoint("loaded", {"texts": texts})

    with ProcessPoolExecutor(2) as pool:
        counts = list(pool.map(count_words, texts))
    total = dict(reduce(add, counts, Counter()))
    checkpoint("counted", {"total": total})

    best = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
    world.post("/reports", {"text": ", ".join(word for word, _ in best)})
    return best
