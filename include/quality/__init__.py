"""Gates: Great Expectations suites run on a table, and what their verdict means."""
