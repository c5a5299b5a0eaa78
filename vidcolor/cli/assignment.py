"""The `KEY=VALUE` of options such as `--set`."""

from __future__ import annotations

from typing import Any

import click


class Assignment(click.ParamType):
    """`key=value`, the value read as TOML, or as text where it is not TOML."""

    name = "key=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        """The pair; a usage error without an equals sign."""
        from ..training.recipe_files import parse_value

        key, equals, text = str(value).partition("=")
        if not equals:
            self.fail(f"'{value}' is not of the form key=value", param, ctx)
        return key.strip(), parse_value(text.strip())
