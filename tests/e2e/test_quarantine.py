"""Bad rows wait in quarantine while the others go on; a person corrects them, and the next run takes them along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.lifecycle import Lifecycle, Run

DAG = "ingest__pantry"


@pytest.fixture
def pantry(depot: str, lifecycle: Lifecycle) -> Iterator[str]:
    """The depot's tables once more, under a contract that sets bad rows aside."""
    sources = lifecycle.contracts / "sources"
    text = (sources / f"{depot}.yaml").read_text().replace("source: depot", "source: pantry")
    text = text.replace("errors_tolerated: 0\n", "errors_tolerated: 0.01\non_bad_rows: quarantine\n")
    (sources / "pantry.yaml").write_text(text)
    lifecycle.at(depot, "update depot.items set price = -1 where item_id in (5, 6)")
    yield "pantry"
    lifecycle.at(depot, "update depot.items set price = item_id where item_id in (5, 6)")
    (sources / "pantry.yaml").unlink()


def _millrace(lifecycle: Lifecycle, *words: str) -> str:
    done = lifecycle.stack.millrace("quarantine", *words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_a_bad_row_waits_until_a_person_corrects_it(pantry: str, lifecycle: Lifecycle) -> None:
    assert lifecycle.done(DAG).state == "success"
    # by then its schedule may have started one before
    ((run_id,),) = lifecycle.at(
        "warehouse",
        "select run_id from ledger.load_stream join ledger.load using (load_id) where source = %s and quarantined = 2",
        pantry,
    )
    run = Run(DAG, run_id)
    raw = "select item_id, price from raw_pantry.items where item_id between 4 and 7 order by 1"
    assert lifecycle.at("warehouse", raw) == [(4, 4), (7, 7)]
    # as many as the tests before this one left
    rows = lifecycle.value("depot", "select count(*) from depot.items")
    assert f"[quarantine] price is between 0.0 and ∞: 2 of {rows} rows" in lifecycle.log(
        run, "audit", "items"
    )
    assert "in quarantine 2" in lifecycle.log(run, "balance")

    listed = _millrace(lifecycle, "list", pantry)
    ids = {
        line.split("item_id=")[1].split()[0]: line.split()[0]
        for line in listed.splitlines()
        if "held" in line
    }
    assert set(ids) == {"5", "6"}
    shown = _millrace(lifecycle, "show", ids["5"])
    assert "price: -1.00" in shown and run.run_id in shown and "price is between 0.0 and ∞" in shown
    assert f"run {DAG} --wait" in _millrace(
        lifecycle, "fix", ids["5"], "--set", "price=5.50", "--why", "the keeper knows"
    )

    again = lifecycle.done(DAG, retry_quarantine=True)
    assert again.state == "success"
    assert [(item, float(price)) for item, price in lifecycle.at("warehouse", raw)] == [
        (4, 4),
        (5, 5.5),
        (7, 7),
    ]
    assert lifecycle.at("warehouse", "select key ->> 'item_id', state from ledger.quarantine order by 1") == [
        ("5", "published"), ("6", "held"),
    ]  # fmt: skip
    (books,) = lifecycle.at(
        "warehouse",
        "select landed, retried, staged, inserted, quarantined from ledger.load_stream join ledger.load using (load_id)"
        " where run_id = %s and source = %s and stream = 'items'",
        again.run_id, pantry,
    )  # fmt: skip
    assert books == (0, 2, 2, 1, 1)
