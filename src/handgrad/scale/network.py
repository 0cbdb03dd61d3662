"""How Ray Train joins the workers: by torch.distributed over gloo, on the network that Ray itself talks on."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

INTERFACE = "GLOO_SOCKET_IFNAME"
ADDRESS_OF = 0x8915  # SIOCGIFADDR, of Linux


@dataclass
class Gloo(TorchConfig):
    """TorchConfig for processors, where workers on several machines find each other."""

    backend: str | None = "gloo"

    @property
    def backend_cls(self) -> Any:
        return _OnOneNetwork


class _OnOneNetwork(_TorchBackend):
    """Left alone, gloo takes the interface that the machine's own name leads to: on many, that is the loopback, which
    no other machine can reach."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(take_interface)
        super().on_start(worker_group, backend_config)


def take_interface() -> None:
    """In a worker: tell gloo the interface that has Ray's address, unless the user has told it one."""
    import ray

    name = interface_of(ray.util.get_node_ip_address())
    if name and INTERFACE not in os.environ:
        os.environ[INTERFACE] = name


def interface_of(address: str) -> str | None:
    """The network interface that has this IPv4 address; None where that is not to be found out."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # one without an address
                found = fcntl.ioctl(asked.fileno(), ADDRESS_OF, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None
