"""From settings to the audit log of one worker."""

from __future__ import annotations

from gateway.audit.chain import DAY, MEGABYTE, Bounds
from gateway.audit.log import AuditLog, Terms
from gateway.audit.marks import Marker, key_of
from gateway.config import AuditSection
from gateway.errors import ConfigInvalid


def audit_log(audit: AuditSection, worker: int) -> AuditLog | None:
    """That worker's, begun; None where none is to be kept. Raises ConfigInvalid."""
    if audit.folder is None:
        return None
    bounds = Bounds(audit.segment_mb * MEGABYTE, audit.max_mb * MEGABYTE, audit.keep_days * DAY)
    terms = Terms(audit.waiting, audit.sync_seconds, audit.text_tenants, bounds)
    try:
        audit.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return AuditLog(audit.folder, worker, Marker(key_of(audit.folder, audit.key), audit.share), terms)
    except OSError as error:
        raise ConfigInvalid(f"audit.folder = {audit.folder}: cannot be written ({error.strerror})") from None
