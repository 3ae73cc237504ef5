"""This container's node of the Ray cluster: `ray start`, watched from outside and stopped without leftovers.

    node = RayNode("pong-head", is_head=False, num_cpus=1, object_store_mb=200)
    node.start(); node.look(); node.stop()

Ray does not mend itself here. A node that the head has given up never comes back, a new head knows none of the old
one's nodes, and a node keeps the address that it registered with. So the supervisor asks: is Ray alive, is the address
the same, does the head know this node? What Ray's own clients do when the head is lost is to end the process that they
are in; the question is therefore put by plain gRPC, on a new channel each time, which looks the head's name up again.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from enum import Enum
from pathlib import Path

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # this process starts others; its own channels are no concern of theirs

import grpc
import psutil
from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc

HEAD_PORT = 6379
# The same on each node, as each has an address of its own. What nobody uses is left out, because all of it takes CPU
# time from a restart: dashboard, log monitor, autoscaler.
FLAGS = (
    "--node-manager-port=6380",
    "--object-manager-port=6381",
    "--runtime-env-agent-port=6382",
    "--dashboard-agent-listen-port=6383",
    "--dashboard-agent-grpc-port=6384",
    "--metrics-export-port=6385",
    "--min-worker-port=10002",
    "--max-worker-port=10201",
    "--include-log-monitor=false",
    "--disable-usage-stats",
    "--log-color=false",
    "--block",
)
HEAD_FLAGS = (
    "--head",
    f"--port={HEAD_PORT}",
    "--ray-client-server-port=6386",
    "--include-dashboard=false",
    "--no-monitor",
)

# In a container the temporary folder is this node's alone; whoever runs a supervisor elsewhere sets TMPDIR, as for Ray.
_TEMPORARY = Path(tempfile.gettempdir())
_SESSIONS, _SESSIONS_BEFORE = _TEMPORARY / "ray", _TEMPORARY / "ray-before"
_START_LOG = _TEMPORARY / "ray-start.log"
_ANSWER_TIMEOUT_S = 2.0
_JOIN_TIMEOUT_S = 120.0  # from `ray start` until the head knows the node: seconds, a minute where CPUs are scarce
_HEAD_SILENCE_S = 60.0  # a head whose own server does not answer for so long is started anew
_STOP_S = 3.0
_SIOCGIFADDR = 0x8915
_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class Standing(Enum):
    """What the head says of a node."""

    ALIVE = "alive"
    UNKNOWN = "unknown to the head"
    NO_ANSWER = "the head does not answer"


class RayNode:
    """The Ray processes of this container."""

    def __init__(self, head: str, is_head: bool, num_cpus: int, object_store_mb: int) -> None:
        self._head, self._is_head = head, is_head
        self._resources = (f"--num-cpus={num_cpus}", f"--object-store-memory={object_store_mb << 20}")
        self._process: subprocess.Popen[bytes] | None = None
        self._node_id: str | None = None
        self.standing = Standing.NO_ANSWER
        self.address: str | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    @property
    def joined(self) -> bool:
        """Whether the head knew this node at the last look."""
        return self.running and self.standing is Standing.ALIVE

    def can_start(self) -> bool:
        """Whether there is a network, and a head to join that has finished starting: all at once would take longer."""
        return own_address() is not None and (self._is_head or stands(self._head))

    def command(self, address: str) -> list[str]:
        """The command that starts Ray at an address."""
        role = HEAD_FLAGS if self._is_head else (f"--address={self._head}:{HEAD_PORT}",)
        return ["ray", "start", *role, f"--node-ip-address={address}", *self._resources, *FLAGS]

    def start(self) -> None:
        """Begin to start Ray; `look` says when it stands."""
        address = own_address()
        if address is None:
            return
        _put_sessions_aside()
        with _START_LOG.open("wb") as log:
            # A session of its own: Ray's processes are found by it, whoever their parents are by then.
            self._process = subprocess.Popen(
                self.command(address), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.address, self._node_id = address, None
        self.standing = Standing.NO_ANSWER
        self._has_joined, self._started_at = False, time.monotonic()
        self._answered_at = self._started_at

    def look(self) -> str:
        """Look how the node is. Returns why it must be started anew, or nothing."""
        assert self._process is not None
        now = time.monotonic()
        if self._process.poll() is not None:
            return f"Ray ended ({_last_words()})"
        address = own_address()
        if address not in (None, self.address):
            return f"the address changed from {self.address} to {address}"
        self._node_id = self._node_id or _node_id_of(self._process.pid)
        head = "127.0.0.1" if self._is_head else self._head
        self.standing = ask(head, self._node_id) if self._node_id else Standing.UNKNOWN
        if self.standing is Standing.NO_ANSWER:
            silent_s = now - self._answered_at
            return f"no answer for {silent_s:.0f} s" if self._is_head and silent_s > _HEAD_SILENCE_S else ""
        self._answered_at = now
        if self.standing is Standing.ALIVE:
            self._has_joined = True
            return ""
        if self._has_joined:
            return "the head does not know this node any more"
        late_s = now - self._started_at
        return f"the head does not know this node after {late_s:.0f} s" if late_s > _JOIN_TIMEOUT_S else ""

    def stop(self) -> None:
        """Stop all of Ray's processes: politely, for a few seconds."""
        if self._process is None:
            return
        self._process.terminate()
        deadline = time.monotonic() + _STOP_S
        while living(self._process.pid) and time.monotonic() < deadline:
            self._process.poll()  # reaps it: a zombie would count as a member of its session
            time.sleep(0.1)
        for process in living(self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process = None
        self.standing = Standing.NO_ANSWER


def ask(head: str, node_id: str) -> Standing:
    """Ask the head whether a node is alive."""
    request = gcs_service_pb2.CheckAliveRequest(node_ids=[bytes.fromhex(node_id)])
    try:
        with _channel(head) as channel:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            reply = stub.CheckAlive(request, timeout=_ANSWER_TIMEOUT_S)
    except grpc.RpcError:
        return Standing.NO_ANSWER
    return Standing.ALIVE if all(reply.raylet_alive) else Standing.UNKNOWN


def stands(head: str) -> bool:
    """Whether the head answers, and its own node is alive."""
    request = gcs_service_pb2.GetAllNodeInfoRequest(state_filter=gcs_pb2.GcsNodeInfo.ALIVE)
    try:
        with _channel(head) as channel:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            reply = stub.GetAllNodeInfo(request, timeout=_ANSWER_TIMEOUT_S)
    except grpc.RpcError:
        return False
    return any(node.is_head_node for node in reply.node_info_list)


def _channel(head: str) -> grpc.Channel:
    return grpc.insecure_channel(f"{head}:{HEAD_PORT}", [("grpc.enable_http_proxy", 0)])


def own_address() -> str | None:
    """This container's address on its network; None while it is cut off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            if name != "lo":
                with contextlib.suppress(OSError):  # an interface without an address
                    answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()))
                    return socket.inet_ntoa(answer[20:24])
    return None


def living(session: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended meanwhile
            if os.getsid(process.pid) == session and process.status() not in _DEAD:
                members.append(process.pid)
    return members


def _node_id_of(leader: int) -> str | None:
    """The node's id, from its raylet's command line; None until that is there."""
    for process in living(leader):
        with contextlib.suppress(psutil.Error):
            program, *words = psutil.Process(process).cmdline() or [""]
            if program.endswith("/raylet"):
                return next((word[10:] for word in words if word.startswith("--node_id=")), None)
    return None


def _put_sessions_aside() -> None:
    """Keep the logs of the last time, and no more: each start leaves a few megabytes."""
    if _SESSIONS.exists():
        shutil.rmtree(_SESSIONS_BEFORE, ignore_errors=True)
        _SESSIONS.rename(_SESSIONS_BEFORE)


def _last_words() -> str:
    """Why `ray start` ended: the processes it names, or its last line."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in _START_LOG.read_text(errors="replace").splitlines() if line.strip()]
        named = [line for line in lines if "[exit code=" in line]
        return ", ".join(named) or (lines[-1] if lines else "it said nothing")
    return "its log cannot be read"
