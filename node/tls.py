"""TLS 1.3, both sides authenticated by pinned, self-signed certificates; no certificate authority is trusted.

The trust store of a context holds exactly the accepted certificates, so a handshake with any other fails; and
after the handshake the certificate is compared to the roster's bytes again, which also covers removed peers.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from node.errors import BadConfig, StateDamaged

LIFETIME: Final = dt.timedelta(days=3650)


def new_tls_key() -> bytes:
    """A fresh P-256 key as PKCS#8 DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(private_der: bytes) -> ec.EllipticCurvePrivateKey:
    key: PrivateKeyTypes = serialization.load_der_private_key(private_der, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateDamaged("the TLS key is not a P-256 key")
    return key


def self_signed(private_der: bytes, country: str, host: str, now_ms: int, serial: int) -> bytes:
    """A certificate (DER) for one node, valid from an hour before ``now_ms`` for ten years.

    Peers pin its exact bytes, so its names carry no trust; its lifetime only bounds forgotten keys.
    """
    key = _load(private_der)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, country),
            x509.NameAttribute(NameOID.COMMON_NAME, f"concordat {country}"),
        ]
    )
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    start = dt.datetime.fromtimestamp(now_ms // 1000, dt.UTC) - dt.timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _pem(certificate_der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(certificate_der)


def _load_own(context: ssl.SSLContext, private_der: bytes, certificate_der: bytes) -> None:
    """Give OpenSSL the key through memory: it reads keys from paths only, and ours never touch the disk."""
    key_pem = _load(private_der).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key_pem + _pem(certificate_der).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def trust(context: ssl.SSLContext, certificate_der: bytes) -> None:
    """Add one pinned certificate to a context in use; new connections see it at once."""
    try:
        context.load_verify_locations(cadata=certificate_der)
    except ssl.SSLError as error:
        raise BadConfig(f"a pinned certificate does not load: {error.reason}") from None


def _context(
    protocol: int, private_der: bytes, certificate_der: bytes, pinned: list[bytes]
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate itself is pinned, its names are not looked at
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_own(context, private_der, certificate_der)
    for one in pinned:
        trust(context, one)
    return context


def server_context(private_der: bytes, certificate_der: bytes, pinned: list[bytes]) -> ssl.SSLContext:
    """For the listening side; no session tickets, so that a removed peer cannot resume."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, private_der, certificate_der, pinned)
    context.num_tickets = 0
    return context


def client_context(private_der: bytes, certificate_der: bytes, peer_der: bytes) -> ssl.SSLContext:
    """For one peer: only its pinned certificate is accepted."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, private_der, certificate_der, [peer_der])
