"""An S3-style object store, from an Airflow connection of type aws.

The connection's login and password are the access key; its extra holds `bucket` and, for a store that is not AWS,
`endpoint_url` and `region_name`.
"""

from __future__ import annotations

import io
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from include.core.connection import Connection
from include.core.errors import ContractError, NotLanded, TerminalError, Unreachable

# What a store answers when the caller, not the store, is at fault: trying again gives the same answer.
_FORBIDDEN = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"})


class ObjectStore:
    """Objects of one bucket. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        bucket = connection.extra.get("bucket")
        if not bucket:
            raise ContractError(
                "has no bucket",
                where=f"connection {connection.conn_id!r}",
                allowed='an extra such as {"bucket": "landing", "endpoint_url": "https://…"}',
                todo="add the bucket to the connection's extra",
            )
        self.bucket: str = bucket
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=connection.extra.get("endpoint_url"),
            region_name=connection.extra.get("region_name", "us-east-1"),
            aws_access_key_id=connection.login or None,
            aws_secret_access_key=connection.password or None,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 5, "mode": "standard"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"} if connection.extra.get("endpoint_url") else {},
            ),
        )

    def put(self, key: str, body: bytes | io.BytesIO) -> None:
        """Write one object.

        :raises Unreachable: the store does not answer. :raises TerminalError: it refuses us.
        """
        if isinstance(body, io.BytesIO):
            body.seek(0)  # sent as it is, without a copy
        self._call("put_object", key, Body=body)

    def get(self, key: str) -> bytes:
        """One object's bytes.

        :raises NotLanded: there is no such object.
        """
        answer = self._call("get_object", key)
        try:
            return bytes(answer["Body"].read())
        except (BotoCoreError, OSError) as error:
            raise Unreachable(f"broke off while reading: {error}", where=self._where(key)) from error

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix, in their order."""
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            answer = self._call("list_objects_v2", None, Prefix=prefix, **more)
            found += [each["Key"] for each in answer.get("Contents", ())]
            if not answer.get("IsTruncated"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _where(self, key: str | None) -> str:
        return f"s3://{self.bucket}/{key or ''}"

    def _call(self, operation: str, key: str | None, **arguments: Any) -> Any:
        if key is not None:
            arguments["Key"] = key
        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("NoSuchKey", "404"):
                raise NotLanded("there is no such object", where=self._where(key)) from error
            if code in _FORBIDDEN:
                raise TerminalError(
                    f"the store refuses: {code}",
                    where=self._where(key),
                    todo="correct the connection's keys and bucket, or the bucket's policy",
                ) from error
            raise Unreachable(f"the store answers {code or error}", where=self._where(key)) from error
        except (BotoCoreError, OSError) as error:
            raise Unreachable(
                f"the store does not answer: {error}",
                where=self._where(key),
                todo="see whether the object store is up",
            ) from error
