"""TCP ports of the loopback interface: which one a service listens on."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from heo_core.errors import ServiceError

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now; a connection that is only closing does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def choose_port(
    variable: str, *, remembered: int | None, default: int, environment: Mapping[str, str] | None = None
) -> int:
    """Choose a port: the one that `variable` names, else the remembered one, else the default, else any free one.

    Raises ServiceError if the variable names something that is no free port.
    """
    asked = asked_port(variable, environment)
    if asked is not None:
        return asked
    for port in (remembered, default):
        if port is not None and is_free(port):
            return port
    return free_port()


def asked_port(variable: str, environment: Mapping[str, str] | None = None) -> int | None:
    """Return the port that the environment asks for, None if it asks for none; ServiceError if it cannot be had."""
    asked = (os.environ if environment is None else environment).get(variable)
    if not asked:
        return None
    if not asked.isdecimal() or not 1 <= int(asked) <= 65535:
        raise ServiceError(f"{variable}={asked!r} is no port; allowed: 1 to 65535")
    if not is_free(int(asked)):
        raise ServiceError(f"port {asked} ({variable}) is in use by another program: free it or choose another port")
    return int(asked)
