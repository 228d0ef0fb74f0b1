"""Great Expectations suites: `<schema>/<table>.py`, each with `expectations() -> list[gxe.Expectation]`.

`severity="critical"` stops a publication, `"warning"` is reported. `meta["why"]` says what would go wrong
without it.
"""
