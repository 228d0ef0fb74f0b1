"""The step `databases`: what must be in the databases before anything else may start. Safe to run again."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from include.demo import crm, seed, shop
from include.flows.setup import set_up_warehouse
from include.stack import databases, ports, postgres, secrets
from include.stack.home import Home


def main() -> None:
    home = Home.locate()
    keys = secrets.load_or_create(home.secrets_file)
    port = ports.remembered(home.ports_file)["postgres"]
    databases.create(port, keys)
    print("databases and roles are there", flush=True)
    superuser = postgres.conninfo(port, keys["POSTGRES_SUPERUSER_PASSWORD"], "warehouse")
    set_up_warehouse(superuser, databases.warehouse_passwords(keys))
    print("warehouse is set up", flush=True)
    owner = databases.conninfo("shop_owner", port, keys)
    shop.install(owner)
    crm.install(databases.conninfo("crm_owner", port, keys))
    print("demo schemas are installed", flush=True)
    if not any(shop.row_counts(owner).values()):
        scale = int(os.environ.get("SCALE", "1"))
        rows = seed.seed(owner, until=datetime.now(timezone.utc).date(), scale=scale)
        print(f"the shop has two years of history, scale {scale}: {sum(rows.values()):,} rows", flush=True)


if __name__ == "__main__":
    main()
