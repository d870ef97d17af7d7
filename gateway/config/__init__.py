"""The settings: their names, defaults and bounds. `load` is the one place that reads them."""

from gateway.config.answering import AdmissionSection, CascadeSection
from gateway.config.jwt import JwtSection
from gateway.config.knowledge import KnowledgeSection
from gateway.config.loading import FILE_VARIABLE, PREFIX, Config, load, traced
from gateway.config.model import LEAST_BATCH_TOKENS, Device, Fallback, ModelSection, Precision, Uncertified
from gateway.config.observing import LogFormat, LogSection, TraceSection
from gateway.config.server import ServerSection
from gateway.config.transport import AccessSection, TlsSection
from gateway.config.trust import AuditSection, DriftMode, DriftSection

__all__ = [
    "FILE_VARIABLE",
    "LEAST_BATCH_TOKENS",
    "PREFIX",
    "AccessSection",
    "AdmissionSection",
    "AuditSection",
    "CascadeSection",
    "Config",
    "Device",
    "DriftMode",
    "DriftSection",
    "Fallback",
    "JwtSection",
    "KnowledgeSection",
    "LogFormat",
    "LogSection",
    "ModelSection",
    "Precision",
    "ServerSection",
    "TlsSection",
    "TraceSection",
    "Uncertified",
    "load",
    "traced",
]
