"""Strict reading of answers: each field of its type, or an error that names it."""

from __future__ import annotations

import re
from typing import Any

from .errors import AgentError

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")


def _bad(field: str, what: str) -> AgentError:
    return AgentError(200, f'field "{field}" of the answer {what}')


def need(answer: Any, field: str, kind: type) -> Any:
    """Give a field that must be there and of this type."""
    if not isinstance(answer, dict):
        raise AgentError(200, "the answer is not a JSON object")
    if field not in answer:
        raise _bad(field, "is missing")
    value = answer[field]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _bad(field, f"is not {kind.__name__}")
    return value


def text(answer: Any, field: str) -> str:
    """Give a text."""
    value: str = need(answer, field, str)
    return value


def text_or(answer: Any, field: str, default: str = "") -> str:
    """Give a text that older agents leave out."""
    if isinstance(answer, dict) and answer.get(field) is None:
        return default
    return text(answer, field)


def hex_bytes(value: Any, field: str) -> bytes:
    """Give the bytes of hex text."""
    if not isinstance(value, str) or _HEX.match(value) is None:
        raise _bad(field, "is not hex")
    return bytes.fromhex(value)


def data(answer: Any, field: str) -> bytes:
    """Give a field of bytes."""
    return hex_bytes(need(answer, field, str), field)


def data_or_empty(answer: Any, field: str) -> bytes:
    """Give a field of bytes that may be absent."""
    return data(answer, field) if isinstance(answer, dict) and field in answer else b""


def texts(answer: Any, field: str) -> list[str]:
    """Give a list of texts."""
    values = need(answer, field, list)
    for value in values:
        if not isinstance(value, str):
            raise _bad(field, "does not hold texts alone")
    return list(values)


def datas(answer: Any, field: str) -> list[bytes]:
    """Give a list of bytes."""
    return [hex_bytes(value, field) for value in need(answer, field, list)]
