"""The Ray cluster: found or started, and looked at before anything is sent there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from handgrad.errors import ClusterError
from handgrad.formats.extras import extra

PATIENCE = 20.0  # seconds that a cluster has to answer
NEEDED = ("handgrad", "torch")  # of each node; Ray is there, and sees to its own version
MUST_AGREE = ("handgrad",)
# How a client of gRPC, and so of Ray, begins, with its settings, none; the server answers with its own.
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0" * 5
QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}  # what there is to say, `fit` says


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Ray, connected: to the cluster there or at RAY_ADDRESS, to the one that this process is connected to, or one
    started for the while.

    cpus: that one started here is to have at least. Raises ClusterError where nobody answers.
    """
    ray = extra("ray", "training by several workers")
    extra("torch", "training by several workers")
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise ClusterError(f"this process is connected to the cluster at {here} already, not to {address!r}")
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # or, beside other programs, workers hardly run
    try:
        if address is None:
            most = max(cpus, os.cpu_count() or 1)
            ray.init(num_cpus=most, include_dashboard=False, **QUIET)
        else:
            _answers(address)
            ray.init(address=address, **QUIET)
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as error:
        if isinstance(error, ClusterError):
            raise
        reason, cause = str(error), error
        while (cause := cause.__cause__ or cause.__context__) is not None:  # type: ignore[assignment]
            if type(cause).__name__ == "AuthenticationError":
                reason = (
                    "it asks for a token; set RAY_AUTH_MODE=token before this process starts, and see Ray's own words"
                )
        raise ClusterError(f"no Ray cluster could be used at {address or 'this machine'!r}: {reason}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raise ClusterError where nothing listens at host:port, or something else than Ray, rather than wait for it."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise ClusterError(
            f"address {address!r} is of Ray Client, over which no training is done; give the head node's own, such as "
            f"'10.0.0.1:6379', from a machine that it reaches, or submit the script with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"address must be 'auto' or a host and port such as '10.0.0.1:6379', got {address!r}")
    try:
        with closing(socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE / 2)) as line:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):  # within TLS, Ray itself has to ask
                line.sendall(GREETING)
                if line.recv(9)[3:4] != SETTINGS:
                    raise OSError("what listens there is not Ray")
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r}: {error.strerror or error}. Start one there with "
            f"`ray start --head --port {port}`, or leave the address out to use this machine"
        ) from error


def _looker() -> Callable[[tuple[str, ...]], dict[str, str | None]]:
    """Of packages, the version of each that is there, else None. It is sent along whole, as no function of a module is:
    a node without Handgrad could not load that."""

    def look(needed: tuple[str, ...]) -> dict[str, str | None]:
        import importlib.util
        from importlib.metadata import version

        found: dict[str, str | None] = {}
        for name in needed:
            try:
                found[name] = version(name) if importlib.util.find_spec(name) else None
            except ImportError:
                found[name] = None
        return found

    return look


def faults(nodes: Mapping[str, Mapping[str, str | None] | None], here: Mapping[str, str | None]) -> list[str]:
    """What is wrong with nodes that have those packages; None for one that did not answer."""
    said = []
    for node, found in nodes.items():
        if found is None:
            said.append(f"node {node} did not answer within {PATIENCE:.0f} s; look whether it is up")
            continue
        missing = [name for name in NEEDED if not found.get(name)]
        if missing:
            said.append(f"node {node} lacks {' and '.join(missing)}: run pip install 'handgrad[ray]' there")
        for name in MUST_AGREE:
            if name not in missing and found[name] != here[name]:
                said.append(
                    f"node {node} has {name} {found[name]}, and this process has {here[name]}: install the same there"
                )
    return said


def check_nodes(ray: Any, cpus: int) -> None:
    """Raise ClusterError for a node without what workers need, or where there are fewer processors than `cpus`."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}

    task = ray.remote(_looker())
    asked = {
        task.options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote(NEEDED): address
        for node, address in nodes.items()
    }  # fmt: skip
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)
    found: dict[str, Mapping[str, str | None] | None] = {}
    for reference, node in asked.items():
        found[node] = ray.get(reference) if reference in ready else None
    if wrong := faults(found, _looker()(NEEDED)):
        raise ClusterError("; ".join(wrong))
    has = int(ray.cluster_resources().get("CPU", 0))
    if has < cpus:
        raise ClusterError(
            f"the cluster has {has} processors, and the workers need {cpus}; give fewer workers or threads"
        )
