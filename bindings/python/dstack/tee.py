"""The trusted execution environment that this process runs in: registers, quotes, extension."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import NamedTuple

from . import native


class Registers(NamedTuple):
    """Registers as they stand now, 48 bytes each."""

    mrtd: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes


class Tee:
    """An open provider: ``auto``, ``tdx``, ``sim:unix:PATH`` or ``sim:port:PATH``.

    A simulated provider opens only under the root certificate (DER) that ``sim_root`` pins. May be
    shared by threads, whose calls run one after another; is a context manager.
    """

    def __init__(self, url: str = "auto", *, sim_root: bytes = b"", timeout: float = 30.0) -> None:
        self._lock = threading.Lock()
        self._handle: native.dstack_tee | None = native.flat_tee_open(
            url, sim_root, int(timeout * 1000)
        )

    def _open(self) -> native.dstack_tee:
        if self._handle is None:
            raise ValueError("this TEE is closed")
        return self._handle

    @property
    def provider(self) -> str:
        """``tdx`` or ``sim``."""
        with self._lock:
            return native.dstack_tee_provider(self._open())

    @property
    def simulated(self) -> bool:
        """Whether what is made here proves nothing about hardware."""
        with self._lock:
            return native.dstack_tee_is_simulated(self._open())

    def registers(self) -> Registers:
        """Read the registers."""
        with self._lock:
            return Registers(*native.flat_tee_registers(self._open()))

    def quote(self, report_data: bytes) -> bytes:
        """Make a quote over 64 bytes."""
        with self._lock:
            return native.flat_tee_quote(self._open(), report_data)

    def boot_log(self) -> bytes:
        """Read the boot event log (CCEL), which replays to RTMR0 to RTMR2."""
        with self._lock:
            return native.dstack_tee_boot_log(self._open())

    def extend(self, index: int, digest: bytes, event: str | None = None) -> None:
        """Extend RTMR 2 or 3 with a SHA-384 digest."""
        with self._lock:
            native.flat_tee_extend(self._open(), index, digest, event)

    def close(self) -> None:
        """Close the provider; further calls raise ValueError."""
        with self._lock:
            self._handle = None

    def __enter__(self) -> Tee:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
