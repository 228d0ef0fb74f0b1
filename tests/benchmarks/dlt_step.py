"""The same with dlt, run by the Python of its own environment (others.py): tables to Parquet in S3, or into Postgres.

Reads one JSON object from stdin, writes one. connectorx is the fastest backend that dlt offers for a database.
"""

import json
import os
import sys
import tempfile
import time


def main() -> None:
    os.environ.update(RUNTIME__DLTHUB_TELEMETRY="false", RUNTIME__LOG_LEVEL="ERROR")
    given = json.load(sys.stdin)
    import dlt
    from dlt.destinations import filesystem, postgres
    from dlt.sources.credentials import AwsCredentials
    from dlt.sources.sql_database import sql_database

    if given["to"] == "s3":
        keys = AwsCredentials(
            aws_access_key_id=given["access_key"],
            aws_secret_access_key=given["secret_key"],
            endpoint_url=given["endpoint"],
            region_name="us-east-1",
        )
        destination = filesystem(bucket_url=f"s3://{given['bucket']}/dlt", credentials=keys)
    else:
        destination = postgres(credentials=given["warehouse"])
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench", pipelines_dir=folder, destination=destination, dataset_name="dlt_bench"
        )
        begun, used = time.perf_counter(), sum(os.times()[:4])
        source = sql_database(
            given["source"].replace("postgresql://", "postgresql+psycopg2://"),
            schema="public",
            table_names=given["tables"],
            backend="connectorx",
            backend_kwargs={"return_type": "arrow"},
        )
        pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
        seconds, cpu = time.perf_counter() - begun, sum(os.times()[:4]) - used
    # ru_maxrss counts the process that started this one too
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "result": 0}))


if __name__ == "__main__":
    main()
