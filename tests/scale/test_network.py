"""The network that workers are joined on."""

import os
import sys

import pytest

pytest.importorskip("ray", reason="workers need Ray")
pytest.importorskip("torch", reason="workers are joined by torch.distributed")


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are looked up as Linux has them")
def test_the_interface_of_an_address():
    from handgrad.scale.network import interface_of

    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.9") is None


def test_what_the_user_says_stays(monkeypatch):
    import ray

    from handgrad.scale.network import INTERFACE, take_interface

    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(INTERFACE, "eth7")
    take_interface()
    assert os.environ[INTERFACE] == "eth7"
