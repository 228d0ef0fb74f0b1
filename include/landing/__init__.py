"""The landing zone: immutable parts in an S3-style store, committed by a manifest that is written last."""

from include.landing.store import ObjectStore
from include.landing.zone import LandingZone

__all__ = ["LandingZone", "ObjectStore"]
