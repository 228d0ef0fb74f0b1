"""A session that hands out columns: what a query finds, as Arrow batches decoded from PostgreSQL's binary COPY.

ADBC's own interface, not its DB-API beside it: that one loads pandas, which costs half a second and 40 MB
(https://arrow.apache.org/adbc/current/python/api/adbc_driver_manager.html).
"""

from __future__ import annotations

from collections.abc import Iterator

import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcStatement

# Batches of so many bytes: several fit into a row group of the landing zone, and few are in memory at once.
_OPTIONS = {adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(4 * 1024 * 1024)}


class Columns:
    """One session at a server, without a transaction until one is begun. For one thread at a time.

    Whoever keeps one asks elsewhere whether its `backend` is still there before using it again: this driver ends the whole
    process when it asks a server that has ended the session (https://github.com/apache/arrow-adbc/issues/3878).

    :raises adbc_driver_manager.Error: here and from each method, when the server refuses or does not answer; what ends a
        result in its middle comes as OSError or as an error of Arrow.
    """

    def __init__(self, uri: str) -> None:
        self._database = adbc_driver_postgresql.connect(uri)
        try:
            self._connection = AdbcConnection(self._database)
        except BaseException:
            self._database.close()
            raise
        (batch,) = self.batches("select pg_backend_pid() as pid")
        self.backend: int = batch.column("pid")[0].as_py()

    def run(self, statement: str) -> None:
        """Do what has no result."""
        with AdbcStatement(self._connection) as prepared:
            prepared.set_sql_query(statement)
            prepared.execute_update()

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """What a query finds, in batches of about 4 MiB, the next one being decoded when it is asked for."""
        with AdbcStatement(self._connection) as prepared:
            prepared.set_options(**_OPTIONS)
            prepared.set_sql_query(query)
            stream, _ = prepared.execute_query()
            with pa.RecordBatchReader.from_stream(stream) as reader:
                yield from reader

    def close(self) -> None:
        self._connection.close()
        self._database.close()
