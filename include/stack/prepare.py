"""The step `databases`: what must be in the databases before anything else may start. Safe to run again."""

from __future__ import annotations

from include.demo import crm, shop
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
    shop.install(databases.conninfo("shop_owner", port, keys))
    crm.install(databases.conninfo("crm_owner", port, keys))
    print("demo schemas are installed", flush=True)


if __name__ == "__main__":
    main()
