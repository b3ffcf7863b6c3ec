"""The options that speak of nodes' labels: what a selector may say.

Not here: which nodes match (``core.node_choice``), the table of options (``options``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?")
_LABEL_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_LABEL_RULE: Final = (
    "must be 63 chars or less beginning and ending with an alphanumeric character ([a-z0-9A-Z]) with dashes (-), "
    "underscores (_), dots (.), and alphanumerics between."
)


def validate_label_selector(selector: Mapping[Any, Any]) -> None:
    """Check the conditions on a node's labels, each a key with ``v``, ``!v``, ``in(a,b)`` or ``!in(a,b)``.

    Raises TypeError for keys and values that are no strings, ValueError for those that break the syntax of labels.
    """
    for key, value in selector.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"A label selector maps strings to strings, but received {key!r}: {value!r}")
        prefix, slash, name = key.rpartition("/")
        if slash and not _LABEL_PREFIX.fullmatch(prefix):
            raise ValueError(f"Invalid label key prefix `{prefix}`. Prefix must be a lower-case DNS name.")
        if not _LABEL.fullmatch(name):
            raise ValueError(f"Invalid label key name `{name}`. Name {_LABEL_RULE}")
        wanted = value.removeprefix("!")
        several = wanted.startswith("in(") and wanted.endswith(")")
        members = [member.strip() for member in wanted[3:-1].split(",")] if several else [wanted]
        if value and not all(_LABEL.fullmatch(member) for member in members):
            raise ValueError(
                f"Invalid label selector value `{value}`. The label selector value should contain optional operators "
                f"and a label value. Supported operators are: ! and in. Value {_LABEL_RULE}"
            )


def label_selector(name: str, value: Mapping[Any, Any]) -> None:
    """Check the option ``name``; see `validate_label_selector`."""
    validate_label_selector(value)


def fallback_strategy(name: str, value: list[Any]) -> None:
    """Check the option ``name``: a list of selectors to try in turn. Raises ValueError."""
    for choice in value:
        if not isinstance(choice, dict):
            raise ValueError(f"Each element in {name} must be a dictionary.")
        if not choice:
            raise ValueError(f"Empty dictionary found in `{name}`.")
        for key, selector in cast("dict[Any, Any]", choice).items():
            if key != "label_selector":
                raise ValueError(f"Unsupported option found: {key!r}. Only ['label_selector'] is currently supported.")
            if selector is not None and not isinstance(selector, dict):
                raise ValueError('The value of "label_selector" must be a dictionary.')
            validate_label_selector(cast("dict[Any, Any]", selector or {}))
