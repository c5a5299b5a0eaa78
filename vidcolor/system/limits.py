"""How much main memory this process may have: its own limits and those of its control groups.

torch is not imported here: it ends the process where there is no room for it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import DeviceError

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Bytes that the smallest film takes with all libraries, less than measured with torch for the CPU
# on two processors: main memory, data segments, addresses. With fewer, torch crashes or hangs.
_LEAST, _LEAST_DATA, _LEAST_ADDRESSES = 560 << 20, 1400 << 20, 3200 << 20


def _number(path: Path) -> int | None:
    """Read a number from a system file; None if it contains none, but `max` for example."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _idle_cache(path: Path, name: str) -> int:
    """Bytes of cached files that a control group can free, from its `memory.stat`."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError, IndexError):
        return 0


def group_memory(own: int | None = None) -> int | None:
    """Bytes that the limits of Linux control groups, such as a container's, leave to this process.

    With `own`, the bytes that this process uses, it is as if no other process was in the groups.

    The limits of all parent groups apply too. None without a limit.
    """
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    left: list[int] = []
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:  # version 2
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = _CGROUPS / "memory"
        else:
            continue
        # a container may see its own group as the root, and a path as seen from outside
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            group = root.joinpath(*parts[:depth])
            limit, used = _number(group / names[0]), _number(group / names[1])
            if limit is not None and own is not None:
                left.append(max(0, limit - own))
            elif limit is not None and used is not None:
                used -= _idle_cache(group / "memory.stat", names[2])
                left.append(max(0, limit - max(0, used)))
    return min(left, default=None)


def _limits() -> dict[str, int]:
    """The process's own limits on data segments and addresses, bytes; only those that are set."""
    found = {}
    with suppress(ImportError):  # Windows has no such limits
        import resource

        for name in ("RLIMIT_AS", "RLIMIT_DATA"):
            soft, _ = resource.getrlimit(getattr(resource, name))
            if soft != resource.RLIM_INFINITY:
                found[name] = soft
    return found


def allocatable_memory() -> int:
    """Bytes of main memory that this process could take at most if no other took any: within the
    machine's memory, the limits of its control groups and its own (`ulimit -v`, `ulimit -d`)."""
    used = psutil.Process().memory_info()
    left = [psutil.virtual_memory().total - used.rss]
    if (group := group_memory(used.rss)) is not None:
        left.append(group)
    taken = {"RLIMIT_AS": used.vms, "RLIMIT_DATA": getattr(used, "data", 0)}
    left += [limit - taken[name] for name, limit in _limits().items()]
    return max(0, min(left))


def check_least_memory() -> None:
    """Refuse to begin where no film can be worked on; call it before torch is imported.

    Raises:
        DeviceError: with both figures.
    """
    limits = _limits()
    rooms = [
        (limits.get("RLIMIT_AS"), _LEAST_ADDRESSES, "address space (ulimit -v)"),
        (limits.get("RLIMIT_DATA"), _LEAST_DATA, "memory (ulimit -d)"),
        (group_memory(0), _LEAST, "memory (control group)"),
    ]
    for limit, need, what in rooms:
        if limit is not None and limit < need:
            raise DeviceError(
                f"this program may take {limit >> 20} MiB of {what}, and even a small film needs "
                f"more than {need >> 20} MiB; raise the limit"
            )
