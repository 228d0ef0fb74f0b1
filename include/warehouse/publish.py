"""Publishing a load: rows, watermarks and ledger change together in one transaction, or not at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from include.core.manifest import Manifest, StreamManifest
from include.warehouse import ledger, quarantine, set_aside, staging
from include.warehouse.changes import merge_changes, order_history
from include.warehouse.merge import Merged, merge
from include.warehouse.origin import check_origin
from include.warehouse.tables import Target, prepare


@dataclass(frozen=True)
class Publication:
    """One stream that passed its audit, and where it goes."""

    landed: StreamManifest
    target: Target


def publish(
    session: psycopg.Connection[Any], manifest: Manifest, publications: list[Publication], *, rejected: bool
) -> dict[str, Merged]:
    """Bring the streams of a load into raw, all at once. A load that is published already is left as it is.

    :param rejected: other streams of the load were held back, so the load as a whole is not published.
    :raises StaleLoad: another load has taken this one's place. :raises BreakerTripped: too many rows would go.
    :raises TerminalError: the load does not follow the ones before it, see `check_origin`.
    """
    with session.transaction():
        load = ledger.get_load(session, manifest.load_id)
        if load.status in ("published", "rejected"):
            return {}
        ledger.hold_lease(session, manifest.load_id)
        if not manifest.full_refresh:
            known = ledger.watermarks(session, manifest.source)
            streams = [publication.landed.stream for publication in publications]
            check_origin(known, streams, manifest.source, manifest.server, manifest.position)
        merged: dict[str, Merged] = {}
        for publication in sorted(publications, key=lambda p: p.landed.stream):
            merged[publication.landed.stream] = _publish_one(
                session, manifest, load.manifest or "", publication
            )
        session.execute(
            "update ledger.load set status = %s, published_at = now() where load_id = %s",
            ("rejected" if rejected else "published", manifest.load_id),
        )
    staging.drop(session, manifest.source)
    return merged


def _publish_one(
    session: psycopg.Connection[Any], manifest: Manifest, key: str, publication: Publication
) -> Merged:
    landed, target, load_id = publication.landed, publication.target, manifest.load_id
    # The lease already keeps other loads out; this keeps out whoever writes into the table by another way of ours.
    session.execute("select pg_advisory_xact_lock(hashtextextended('publish ' || %s, 0))", (target.where,))
    prepare(session, target)
    if landed.log and target.keeps_history:
        order_history(session, target)
    outcome, set_apart = Merged(0, 0, 0, 0, 0), 0
    if landed.moves:
        if landed.holds_changes:
            outcome = merge_changes(session, target, load_id, landed)
        else:
            rows, keys = set_aside.split(session, load_id, landed)
            outcome = merge(session, target, load_id, rows, landed.complete, keys)
            set_apart = quarantine.settle(session, manifest, key, landed)
    session.execute(
        "update ledger.load_stream set status = 'published', staged = coalesce(staged, 0), rejected = 0,"
        " inserted = %(inserted)s, updated = %(updated)s, unchanged = %(unchanged)s, duplicates = %(duplicates)s,"
        " deleted = %(deleted)s, quarantined = %(quarantined)s where load_id = %(load_id)s and stream = %(stream)s",
        asdict(outcome) | {"load_id": load_id, "stream": landed.stream, "quarantined": set_apart},
    )
    # A backfill says nothing about how far the stream is complete, so only a regular load moves the watermark, and only
    # forward.
    regular = manifest.kind == "regular"
    watermark = landed.watermark_to if regular else None
    session.execute(
        "insert into ledger.watermark as w"
        " (source, stream, watermark, mark, log, newest, schema_fingerprint, server, position, load_id)"
        " values (%(source)s, %(stream)s, %(watermark)s, %(mark)s, %(log)s, %(newest)s, %(shape)s, %(server)s, %(position)s,"
        " %(load_id)s)"
        " on conflict (source, stream) do update set watermark = greatest(w.watermark, excluded.watermark),"
        # The mark is that of this load, which follows the one before (see `check_origin`) or has read everything. A load
        # by a stamp, or of a snapshot, leaves none: it does not say which transactions it has seen.
        " mark = case when %(regular)s then excluded.mark else w.mark end,"
        " log = case when %(regular)s then excluded.log else w.log end,"
        " newest = greatest(w.newest, excluded.newest), server = excluded.server, position = excluded.position,"
        " schema_fingerprint = coalesce(excluded.schema_fingerprint, w.schema_fingerprint),"
        " load_id = excluded.load_id, updated_at = clock_timestamp()",
        {
            "source": manifest.source,
            "stream": landed.stream,
            "watermark": watermark,
            "mark": Jsonb(asdict(landed.mark)) if landed.mark and regular else None,
            "log": Jsonb(asdict(landed.log)) if landed.log and regular else None,
            "regular": regular,
            "newest": landed.newest,
            "shape": landed.schema.fingerprint if regular else None,
            "server": manifest.server,
            "position": list(manifest.position),
            "load_id": load_id,
        },
    )
    return outcome
