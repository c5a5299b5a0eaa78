"""Content Credentials (C2PA): finished files signed with the user's certificate.

An extra: `pip install 'vidcolor[c2pa]'`. MP4, MOV, AVI and pictures carry the manifest in
themselves; other files get a sidecar beside them, `NAME.c2pa`. Source: C2PA specification 2.2.
"""

from __future__ import annotations

import io
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ..errors import OutputError
from ..marks import Marks, plain
from ..system.files import replacing

SIDECAR = ".c2pa"
# What the library is told; names of files alone decide, for its own guess depends on the system.
_KINDS = {
    ".mp4": "video/mp4", ".m4v": "video/x-m4v", ".mov": "video/quicktime", ".avi": "video/avi",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".png": "image/png", ".tif": "image/tiff", ".tiff": "image/tiff", ".webp": "image/webp",
    ".avif": "image/avif",
}  # fmt: skip
_OTHER = "application/octet-stream"
# No thumbnails, and nothing is fetched over a network.
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
_RECORD = "io.github.vidcolor.record"


def _library() -> Any:
    """The module c2pa.

    Raises:
        OutputError: it is not installed.
    """
    try:
        import c2pa
    except ImportError as error:
        raise OutputError(
            "Content Credentials need c2pa-python: run pip install 'vidcolor[c2pa]'"
        ) from error
    return c2pa


def _context() -> Any:
    return _library().Context.from_dict(_SETTINGS)


def sidecar_of(path: Path) -> Path | None:
    """Where the manifest of a file lies that cannot hold it; None for one that can."""
    return None if path.suffix.lower() in _KINDS else path.with_suffix(SIDECAR)


class Credentials:
    """Signs files.

    Args:
        cert: file with the certificate and its chain, PEM.
        key: file with its private key, PEM.

    Raises:
        OutputError: the library is missing, or the files cannot be used to sign with.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._c2pa = _library()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            self._cert, self._key = cert.read_bytes(), key.read_bytes()
        except OSError as error:
            raise OutputError(
                f"{error.filename}: cannot be read ({error.strerror}); check --c2pa-cert and "
                "--c2pa-key"
            ) from error
        try:
            made = load_pem_private_key(self._key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise OutputError(
                f"{key}: is not a private key in PEM without a password; check --c2pa-key"
            ) from error
        if isinstance(made, ec.EllipticCurvePrivateKey):
            self._kind = {256: "es256", 384: "es384", 521: "es512"}.get(made.curve.key_size, "")
        elif isinstance(made, ed25519.Ed25519PrivateKey):
            self._kind = "ed25519"
        else:
            self._kind = "ps256" if isinstance(made, rsa.RSAPrivateKey) else ""
        if not self._kind:
            raise OutputError(f"{key}: C2PA has no signature of this kind of key; use ES256")
        try:
            marks = Marks("vidcolor trial")
            self._manifest(_OTHER, Path("trial"), marks, Path(), io.BytesIO(b"trial"), None)
        except self._c2pa.C2paError as error:
            raise OutputError(
                f"{cert}: cannot be signed with ({error}); check --c2pa-cert and --c2pa-key"
            ) from error

    def _signer(self) -> Any:
        info = self._c2pa.C2paSignerInfo(self._kind.encode(), self._cert, self._key, None)
        return self._c2pa.Signer.from_info(info)

    def sign(self, path: Path, marks: Marks, source: Path, *, overwrite: bool = False) -> Path:
        """Sign a finished file, and read the signature back.

        The source becomes an ingredient, with the credentials that it carries itself. Time of
        modification and name of the file stay.

        Args:
            path: of the file.
            marks: what it says of its origin.
            source: the file it was made from; not an ingredient if it is no regular file.
            overwrite: replace an existing sidecar.

        Returns:
            The file that holds the manifest: `path`, or its sidecar.

        Raises:
            OutputError: it cannot be signed; it is as it was.
        """
        aside = sidecar_of(path)
        if aside is not None and not overwrite and os.path.lexists(aside):
            raise OutputError(
                f"{path}: is written, but not signed, because {aside} exists; give --overwrite to "
                "replace it"
            )
        try:
            if aside is None:
                self._embed(path, marks, source)
                return path
            with path.open("rb") as file, replacing(aside) as made:
                made.write_bytes(self._manifest(_OTHER, path, marks, source, file, None))
                _check(path, made)
            return aside
        except (self._c2pa.C2paError, OSError) as error:
            raise OutputError(
                f"{path}: is written, but not signed ({error}); check --c2pa-cert and --c2pa-key"
            ) from error

    def _embed(self, path: Path, marks: Marks, source: Path) -> None:
        times = path.stat()
        with replacing(path) as made:
            with path.open("rb") as file, made.open("w+b") as target:
                self._manifest(_KINDS[path.suffix.lower()], path, marks, source, file, target)
            _check(made, None, _KINDS[path.suffix.lower()])
            os.utime(made, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _manifest(
        self,
        kind: str,
        path: Path,
        marks: Marks,
        source: Path,
        file: IO[bytes],
        target: IO[bytes] | None,
    ) -> bytes:
        """Sign `file` into `target`, or without one leave the manifest to be written elsewhere."""
        program, _, version = marks.software.rpartition(" ")
        agent = {"name": program, "version": version}
        action = {
            "action": "c2pa.color_adjustments",
            "when": marks.date,
            "softwareAgent": agent,
            "digitalSourceType": marks.digital_source_type,
            "description": marks.sentence,
        }
        manifest = {
            "claim_generator_info": [agent],
            "title": plain(path.name),
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                {"label": _RECORD, "data": marks.to_dict()},
            ],
        }
        ingredient = {"title": plain(source.name), "relationship": "parentOf"}
        with ExitStack() as stack:
            context = stack.enter_context(_context())
            builder = stack.enter_context(self._c2pa.Builder(manifest, context))
            if source.is_file():
                builder.set_intent(self._c2pa.C2paBuilderIntent.EDIT)
                origin = _KINDS.get(source.suffix.lower(), _OTHER)
                original = stack.enter_context(source.open("rb"))
                builder.add_ingredient(json.dumps(ingredient), origin, original)
            else:
                types = self._c2pa.C2paDigitalSourceType
                kind_of_source = types.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
                builder.set_intent(self._c2pa.C2paBuilderIntent.CREATE, kind_of_source)
            if target is None:
                builder.set_no_embed()
                target = stack.enter_context(open(os.devnull, "w+b"))
            signer = stack.enter_context(self._signer())
            return bytes(builder.sign(signer, kind, file, target))


def read_credentials(path: Path) -> dict[str, Any] | None:
    """What the Content Credentials of a file say: `state` (`Valid`, `Trusted` where the
    certificate leads to one the library trusts, `Invalid`), `problems`, `signer`, and the
    `manifests` as the library has them. None without any.

    Raises:
        OutputError: the library is not installed.
    """
    c2pa = _library()
    aside = path.with_suffix(SIDECAR)
    kind = _KINDS.get(path.suffix.lower(), _OTHER)
    data = aside.read_bytes() if kind == _OTHER and aside.is_file() else None
    if kind == _OTHER and data is None:
        return None
    try:
        with path.open("rb") as file, _context() as context:
            reader = c2pa.Reader.try_create(kind, file, data, context=context)
            if reader is None:
                return None
            with reader:
                return _said(json.loads(reader.json()), str(reader.get_validation_state()))
    except c2pa.C2paError as error:
        return {"state": "Invalid", "problems": [str(error)], "signer": "", "manifests": {}}


def _said(store: dict[str, Any], state: str) -> dict[str, Any]:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signer = active.get("signature_info", {})
    names = (signer.get("common_name"), signer.get("issuer"))
    problems = [each["code"] for each in store.get("validation_status", ())]
    return {
        "state": state,
        "problems": problems,
        "signer": ", ".join(filter(None, names)),
        "manifests": store.get("manifests", {}),
    }


def _check(path: Path, manifest: Path | None, kind: str = _OTHER) -> None:
    """See that the signature is of the file.

    Raises:
        OSError: it is not.
    """
    c2pa = _library()
    data = None if manifest is None else manifest.read_bytes()
    with (
        path.open("rb") as file,
        _context() as context,
        c2pa.Reader(kind, file, data, context=context) as reader,
    ):
        state = reader.get_validation_state()
        if state not in ("Valid", "Trusted"):
            said = _said(json.loads(reader.json()), str(state))
            raise OSError(f"the signature does not hold: {', '.join(said['problems'])}")
