"""The app manifest's hash."""

from __future__ import annotations

import json
import math
from typing import Any

from . import native


def compose_hash(file: bytes) -> bytes:
    """Give the SHA-256 of a manifest file's bytes: the hash that is measured."""
    return native.dstack_compose_hash(file)


class _Fields:
    """Named values, of which those that are None, or no numbers, are left out."""

    def to_dict(self) -> dict[str, Any]:
        """Give the values that are set."""
        return {
            name: value.to_dict() if isinstance(value, _Fields) else value
            for name, value in vars(self).items()
            if value is not None and _finite(value) is not None
        }


class DockerConfig(_Fields):
    """Access to a private registry."""

    def __init__(
        self,
        registry: str | None = None,
        username: str | None = None,
        token_key: str | None = None,
        **more: Any,
    ) -> None:
        self.registry, self.username, self.token_key = registry, username, token_key
        vars(self).update(more)


class AppCompose(_Fields):
    """A manifest. Members are those of the file; ``runner`` is required, unknown ones are kept."""

    def __init__(self, runner: str, **members: Any) -> None:
        self.runner = runner
        vars(self).update(members)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AppCompose:
        """Make one of a dictionary, which is left as it is."""
        members = dict(data)
        docker = members.get("docker_config")
        if isinstance(docker, dict):
            members["docker_config"] = DockerConfig(**docker)
        return cls(**members)


def sort_object(value: Any) -> Any:
    """Sort the keys of all objects within."""
    if isinstance(value, dict):
        return {key: sort_object(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sort_object(item) for item in value]
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def get_compose_hash(app_compose: AppCompose | dict[str, Any], normalize: bool = False) -> str:
    """Predict, in hex, the hash of a manifest that will be written in canonical form: keys sorted,
    numbers as JavaScript spells them. With ``normalize`` members that the runner does not use are
    left out. A dictionary's nulls are kept, as in the file; members of an AppCompose that are None
    are not there."""
    members = app_compose.to_dict() if isinstance(app_compose, AppCompose) else app_compose
    text = json.dumps(_finite(members), ensure_ascii=False)
    return native.dstack_compose_hash_canonical(text, normalize).hex()
