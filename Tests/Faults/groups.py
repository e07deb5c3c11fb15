"""Redis in groups: a master with a replica under three sentinels, and a cluster of three masters with a replica each."""

import pathlib
import subprocess
import time

import parts


class Group:
    """Stands where a single `parts.Redis` would: `start` brings up all of it, `kill` ends it."""

    def start(self):
        for part in self.members:
            part.start()
        self.join()

    def kill(self):
        for part in self.members:
            part.kill()

    @staticmethod
    def until(condition, what):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.1)


def member(folder, name, *options):
    # A node of a cluster listens 10,000 above its port, too.
    number = next(number for _ in range(1000) if (number := parts.free_port()) <= 55_535)
    return parts.Redis(pathlib.Path(folder) / name, *options, port=number)


def port(part):
    return part.command[part.command.index("--port") + 1]


class Sentinels(Group):
    """One service, `kefu`. A master that is silent for a second is replaced."""

    def __init__(self, folder):
        self.master = member(folder, "master")
        self.replica = member(folder, "replica", "--replicaof", f"127.0.0.1 {port(self.master)}")
        self.sentinels = [Sentinel(pathlib.Path(folder) / f"sentinel-{n}", port(self.master)) for n in range(3)]
        self.members = [self.master, self.replica, *self.sentinels]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port(sentinel)}" for sentinel in self.sentinels) + "/kefu"

    def join(self):
        self.until(lambda: b"master_link_status:up" in (self.replica.command_now("INFO", "replication") or b""), "the replica never came up")
        for sentinel in self.sentinels:
            self.until(lambda: b"num-other-sentinels\r\n$1\r\n2" in (sentinel.command_now("SENTINEL", "MASTER", "kefu") or b""), "the sentinels never met")
            self.until(lambda: b"num-slaves\r\n$1\r\n1" in (sentinel.command_now("SENTINEL", "MASTER", "kefu") or b""), "no sentinel knows the replica")


class Sentinel(parts.Redis):
    """A sentinel keeps what it knows in its configuration."""

    def __init__(self, folder, master):
        super().__init__(folder, port=parts.free_port())
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {port(self)}\nunixsocket {self.socket}\ndir {self.folder}\nlogfile {self.log}\nsentinel monitor kefu 127.0.0.1 {master} 2\n"
            "sentinel down-after-milliseconds kefu 1000\nsentinel failover-timeout kefu 5000\n")
        self.number = port(self)
        self.command = ["redis-server", str(configuration), "--sentinel", "--port", self.number]


class Cluster(Group):
    """Three masters with a replica each; a node that is silent for a second is replaced."""

    def __init__(self, folder):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
        self.members = [member(folder, f"node-{n}", *options) for n in range(6)]
        self.master = self.members[0]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port(part)}" for part in self.members)

    def join(self):
        nodes = [f"127.0.0.1:{port(part)}" for part in self.members]
        subprocess.run(["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"], check=True, capture_output=True)
        for part in self.members:
            self.until(lambda: b"cluster_state:ok" in (part.command_now("CLUSTER", "INFO") or b""), "the cluster never formed")
        self.until(lambda: all(b"master_link_status:down" not in (part.command_now("INFO", "replication") or b"") for part in self.members), "a replica never came up")
