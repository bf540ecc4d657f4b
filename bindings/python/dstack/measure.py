"""What a guest image must measure to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import native


@dataclass(frozen=True)
class Registers:
    """MRTD and RTMR0 to RTMR2, 48 bytes each."""

    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes


def image_digest(folder: str | os.PathLike[str]) -> str:
    """Give an image's identity: SHA-256 of its sha256sum.txt, hex."""
    return native.dstack_measure_digest(os.fspath(folder))


def tdx_registers(
    folder: str | os.PathLike[str],
    vm_config: str | Mapping[str, Any],
    acpi_loader: bytes,
    acpi_rsdp: bytes,
    acpi_tables: bytes,
) -> Registers:
    """Predict the registers of a TDX machine that boots the image of a folder.

    ``vm_config`` is its description as it travels with evidence; the three SHA-384 digests are those
    of the ACPI tables as the machine hands them over.
    """
    text = vm_config if isinstance(vm_config, str) else json.dumps(vm_config)
    made = native.flat_measure_tdx(os.fspath(folder), text, acpi_loader, acpi_rsdp, acpi_tables)
    return Registers(*made)
