"""The console script, and `python -m vidcolor`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C exits with 130 also while it is still being imported."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
