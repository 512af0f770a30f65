"""Sales are loaded into a frame, cleaned, grouped and reported."""

import pandas as pd
import world
from trigger_sdk import checkpoint, task


@task(id="report-sales", memory="512MB")
def report_sales(month: str):
    sales = pd.DataFrame(world.get(f"/sales/{month}"))
    checkpoint("loaded", {"sales": sales})

    sales["amount"] = sales["amount"].astype(float)
    by_shop = sales.groupby("shop")["amount"].sum().reset_index()
    checkpoint("grouped", {"by_shop": by_shop})

    best = by_shop.sort_values("amount", ascending=False).iloc[0]
    world.post("/reports", {"text": f"{best['shop']}: {best['amount']:.2f}"})
    return {"best": best["shop"], "amount": best["amount"], "mean": by_shop["amount"].mean()}
