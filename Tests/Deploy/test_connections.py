"""Clients are told to connect anew, and lose no call by it."""

import queue
import subprocess

import grpc
import pytest
from conftest import ROOT, servers

REPLY = "kefu.dialogue.v1.Dialogue/Reply"


def test_a_connection_ends_by_age_and_calls_go_on():
    # No intent server is there: the orchestrator apologises, and answers all the same.
    server = servers.Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", "127.0.0.1:9", "--redis", "memory:",
        "--connection-age-ms", "300")
    try:
        client = servers.Client(server.address)
        request, reply = client.stub(REPLY)
        states = queue.Queue()
        client.channel.subscribe(states.put, try_to_connect=True)
        for seq in range(1, 4):
            while states.get(timeout=30) is not grpc.ChannelConnectivity.READY:
                pass
            assert reply(request(uid="aged", query="你好", seq=seq), timeout=30).reply
            # The server says GOAWAY, and the client has no connection until its next call.
            while states.get(timeout=30) is not grpc.ChannelConnectivity.IDLE:
                pass
            client.channel.subscribe(lambda state: None, try_to_connect=True)
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("program", ["intent-server", "dialogue-orchestrator"])
def test_an_age_that_is_none_is_refused(program):
    result = subprocess.run(
        [servers.BIN / program, "serve", "--listen", "127.0.0.1:0", "--connection-age-ms", "soon"], cwd=ROOT, capture_output=True, text=True,
        timeout=60)
    assert result.returncode != 0 and "--connection-age-ms" in result.stderr and "'soon'" in result.stderr
