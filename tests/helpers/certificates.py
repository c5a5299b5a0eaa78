"""A certificate to sign with, made for the tests, and its key."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _name(text: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "An archive")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text), organization])


def _usage(*, root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not root, False, False, False, False, root, root, False, False)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate with its root, and the private key, as C2PA asks for them (2.2, 14.5)."""
    now = datetime.now(timezone.utc)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    chain = []
    for number, key in enumerate(keys):
        root = number == 0
        made = (
            x509.CertificateBuilder()
            .subject_name(_name("A root" if root else "A signer"))
            .issuer_name(_name("A root"))
            .public_key(key.public_key())
            .serial_number(number + 1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(root, None), True)
            .add_extension(_usage(root=root), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if not root:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
            mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            made = made.add_extension(issuer, False).add_extension(mail, False)
        chain.append(made.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    cert, key_file = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(chain[1] + chain[0])
    key_file.write_bytes(keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert, key_file
