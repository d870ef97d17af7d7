"""TLS on the gRPC port: the certificate that is in use now, for each handshake."""

from __future__ import annotations

import grpc

from gateway.access.certificates import Identity, read_identity
from gateway.access.watched import Watched
from gateway.config import TlsSection
from gateway.telemetry.access import AccessMetrics, Reloaded


class Tls:
    """By the settings, which say that it is on. Raises ConfigInvalid where it cannot begin.

    `watched` has to be looked at, for what changes on disk to come into use: with the next handshake, as gRPC asks
    then. Connections that are there stay as they are.
    """

    def __init__(self, section: TlsSection, metrics: AccessMetrics) -> None:
        assert section.certificate is not None
        assert section.key is not None
        certificate, key, client_ca = section.certificate, section.key, section.client_ca
        paths = [path for path in (certificate, key, client_ca) if path is not None]

        def read() -> Identity:
            identity = read_identity(certificate, key, client_ca)
            metrics.set_tls(identity.not_after, identity.client_ca_not_after)
            return identity

        self.watched = Watched(
            "TLS certificate", paths, read, lambda is_in_use: metrics.reloaded(Reloaded.TLS, is_in_use)
        )

    def credentials(self) -> grpc.ServerCredentials:
        """For one server: each of several on a port has to hear of a change for itself."""
        given = self.watched.current

        def changed() -> grpc.ServerCertificateConfiguration | None:
            # In a thread of gRPC, for each handshake.
            nonlocal given
            if given is self.watched.current:
                return None
            given = self.watched.current
            return _configuration(given)

        requires = given.client_ca is not None
        # Its hints do not know that None is "as before".
        return grpc.dynamic_ssl_server_credentials(_configuration(given), changed, requires)  # type: ignore[arg-type]


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.client_ca)
