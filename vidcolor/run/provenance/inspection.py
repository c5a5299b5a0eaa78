"""Look at what a file says of its origin, and whether that is true: `inspect`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import InputError, OutputError, WeightsError
from ...models.weights import manifest, stored_weights
from ...sinks.credentials import read_credentials
from ...sources.marks import read_marks
from ...system.digest import sha256_of


@dataclass(frozen=True)
class Check:
    """One claim of a file that was checked.

    Attributes:
        name: `source`, `model` or `credentials`.
        state: `matches`, `differs`, or `unknown` where there is nothing to compare with.
        detail: with what it was compared, or why it was not.
    """

    name: str
    state: str
    detail: str


@dataclass(frozen=True)
class Inspection:
    """What a file says of its origin.

    Attributes:
        marks: by the names of `Marks`; empty for none.
        checks: of the marks.
        credentials: its Content Credentials; see `read_credentials`. None for none.
    """

    file: Path
    marks: dict[str, str]
    checks: tuple[Check, ...] = ()
    credentials: dict[str, Any] | None = field(default=None)

    @property
    def holds(self) -> bool:
        """Whether no claim about the source or the file itself is wrong."""
        return not any(
            each.state == "differs" and each.name in ("source", "credentials")
            for each in self.checks
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "file": str(self.file),
            "marks": self.marks,
            "checks": [vars(each) for each in self.checks],
            "credentials": self.credentials,
        }


def inspect(file: Path, source: Path | None = None) -> Inspection:
    """Read a file's marks and check their hashes.

    Args:
        file: a film or picture.
        source: what it was made from; by default the file of the name that it gives, in its own
            folder.

    Raises:
        InputError: `file` or `source` cannot be read.
    """
    marks = read_marks(file)
    checks = []
    if source is not None or "source_sha256" in marks:
        checks.append(_source(marks, source, file))
    if "model" in marks:
        checks.append(_model(marks))
    try:
        credentials = read_credentials(file)
    except OutputError as error:  # the library is missing
        credentials = None
        checks.append(Check("credentials", "unknown", str(error)))
    if credentials is not None:
        state = "differs" if credentials["state"] == "Invalid" else "matches"
        detail = f"{credentials['state'].lower()}, signed by {credentials['signer'] or 'nobody'}"
        if credentials["problems"]:
            detail += f" ({', '.join(credentials['problems'])})"
        checks.append(Check("credentials", state, detail))
    return Inspection(file, marks, tuple(checks), credentials)


def _source(marks: dict[str, str], source: Path | None, file: Path) -> Check:
    given = marks.get("source_sha256", "")
    path = source or file.with_name(Path(marks.get("source", "")).name or file.name)
    if len(given) != 64:
        return Check("source", "unknown", "the file names no SHA-256 of its source")
    if source is None and (path == file or not path.is_file()):  # outputs may keep the name
        return Check(
            "source", "unknown", f"{path.name} is not there; give the original with --source"
        )
    try:
        found = sha256_of([path])
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the name") from error
    return Check("source", "matches" if found == given else "differs", str(path))


def _model(marks: dict[str, str]) -> Check:
    name, given = marks["model"], marks.get("model_sha256", "")
    try:
        entry = {**stored_weights(), **manifest()}.get(name)
    except WeightsError as error:
        return Check("model", "unknown", str(error))
    if entry is None or not given:
        return Check("model", "unknown", f"no weights to compare with are here as '{name}'")
    state = "matches" if entry.sha256 == given else "differs"
    return Check("model", state, f"the weights '{name}' of this installation")
