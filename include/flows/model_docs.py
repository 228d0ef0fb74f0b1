"""The docs of the models: dbt writes them as one page that needs no other, when the project or what is published changes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from include.core.connection import Connection
from include.core.errors import TerminalError
from include.flows.data_docs import READER
from include.warehouse import model_docs
from include.warehouse.connect import connected


def page(connect: Callable[[str], Connection]) -> str | None:
    """The page that was written last, as HTML; None when there is none yet."""
    with connected(connect(READER)) as session:
        return model_docs.page(session)


def write(connect: Callable[[str], Connection], project: Path) -> bool:
    """Write the page, unless the one that is kept was made of the same, or nothing is published yet. Whether it was written.

    :param project: the dbt project, with the manifest of its last parse in `target`.
    :raises TerminalError: dbt cannot write it.
    """
    manifest = (project / "target" / "manifest.json").read_bytes()
    with connected(connect("warehouse_transformer")) as session:
        columns = model_docs.published(session)
        made_of = f"{hashlib.sha256(manifest).hexdigest()} {columns}"
        if columns is None or model_docs.fingerprint(session) == made_of:
            return False
        model_docs.keep(session, made_of, _generate(project))
    return True


def _generate(project: Path) -> str:
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory() as folder:
        places = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", folder]
        silence = ["--quiet", "--log-level-file", "none", "--log-path", folder]
        # named as consumers see them, not as the candidates that are built
        done = dbtRunner().invoke(
            ["docs", "generate", "--static", "--profile", "shop", "--target", "published", *places, *silence]
        )
        if not done.success:
            raise TerminalError(
                "dbt could not write the docs of the models",
                where=str(project),
                received=done.exception,
                todo="reproduce it: millrace dbt docs generate --static; correct the model that it names",
            )
        return (Path(folder) / "static_index.html").read_text(encoding="utf-8")
