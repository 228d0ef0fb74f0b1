"""The warehouse: staging batches, the merge that publishes them, the ledger, and the published versions of marts."""
