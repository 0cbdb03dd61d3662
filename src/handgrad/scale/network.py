"""How Ray Train joins the workers: by torch.distributed over gloo, on the network that Ray itself talks on."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _TorchBackend

INTERFACE = "GLOO_SOCKET_IFNAME"
PATIENCE = 20.0  # seconds for workers to end in
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


class Trainer(TorchTrainer):
    """TorchTrainer whose `fit` is left by Ctrl-C with KeyboardInterrupt, as any other function, and not by an exit."""

    _controller: Any = None

    def _register_sigint_handler(self, controller: Any) -> None:
        self._controller = controller  # instead of Ray's handler, which would end this process

    def abort(self) -> None:
        """End the workers."""
        import ray

        if self._controller is not None:
            with suppress(ray.exceptions.RayError):  # the controller ends with them, and so does not answer
                ray.get(self._controller.abort.remote(), timeout=PATIENCE)


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
