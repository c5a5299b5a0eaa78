"""The console script, and `python -m vidcolor`."""

from __future__ import annotations

import sys

from .system.signals import ending


def main() -> None:
    """Run the command line, signals included: after Ctrl-C the exit code is 130, after SIGTERM 143,
    after SIGHUP 129, at any moment from here on."""
    ending.install()
    code: int | str | None = 1
    try:
        try:
            from .cli import main as run

            run()
            code = 0
        finally:
            ending.ignore()
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        pass  # `ending` has its code
    sys.exit(ending.code or code)


if __name__ == "__main__":
    main()
