"""`python -m include.cli` is `millrace`, also where the project is not installed."""

from include.cli.main import app

app(prog_name="millrace")
