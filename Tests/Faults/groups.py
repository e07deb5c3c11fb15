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


def member(folder, name, number, *options):
    """A server whose connections to others come from an address of its own, by which a firewall can tell who speaks."""
    # A node of a cluster listens 10,000 above its port, too.
    chosen = next(chosen for _ in range(1000) if (chosen := parts.free_port()) <= 55_535)
    part = parts.Redis(pathlib.Path(folder) / name, "--bind-source-addr", source(number), *options, port=chosen)
    part.source = source(number)
    return part


def source(number):
    return f"127.0.0.{10 + number}"


def port(part):
    return int(part.command[part.command.index("--port") + 1])


class Sentinels(Group):
    """One service, `kefu`. A master that is silent for a second is replaced."""

    def __init__(self, folder, *options, replicas=1):
        announce = ("--replica-announce-ip", "127.0.0.1", *options)
        self.master = member(folder, "master", 0, *announce)
        self.replicas = [member(folder, f"replica-{n}", n, "--replicaof", f"127.0.0.1 {port(self.master)}", *announce) for n in range(1, replicas + 1)]
        self.servers = [self.master, *self.replicas]
        self.sentinels = [Sentinel(pathlib.Path(folder) / f"sentinel-{n}", port(self.master), source(100 + n)) for n in range(3)]
        self.members = [*self.servers, *self.sentinels]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{port(sentinel)}" for sentinel in self.sentinels) + "/kefu"

    def join(self):
        for replica in self.replicas:
            self.until(lambda: b"master_link_status:up" in (replica.command_now("INFO", "replication") or b""), "the replica never came up")
        replicas = b"num-slaves\r\n$1\r\n%d" % len(self.replicas)
        for sentinel in self.sentinels:
            self.until(lambda: b"num-other-sentinels\r\n$1\r\n2" in (sentinel.command_now("SENTINEL", "MASTER", "kefu") or b""), "the sentinels never met")
            self.until(lambda: replicas in (sentinel.command_now("SENTINEL", "MASTER", "kefu") or b""), "no sentinel knows the replica")

    def current_master(self):
        """Whom the sentinels call the master."""
        told = self.sentinels[0].command_now("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "kefu") or b""
        return next((server for server in self.servers if b"\r\n%d\r\n" % port(server) in told), None)

    def is_replaced(self, master):
        return self.current_master() is not master

    def settle(self):
        """Waits until all servers but one replicate from that one."""
        def is_settled():
            master = self.current_master()
            return master is not None and all(
                b"role:master" in told if server is master else b"role:slave" in told and b"master_port:%d\r\n" % port(master) in told and b"master_link_status:up" in told
                for server in self.servers for told in [server.command_now("INFO", "replication") or b""])
        self.until(is_settled, "the group never settled")


class Sentinel(parts.Redis):
    """A sentinel keeps what it knows in its configuration."""

    def __init__(self, folder, master, source):
        super().__init__(folder, port=parts.free_port())
        self.source = source
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {port(self)}\nbind-source-addr {source}\nunixsocket {self.socket}\ndir {self.folder}\nlogfile {self.log}\n"
            f"sentinel announce-ip 127.0.0.1\nsentinel monitor kefu 127.0.0.1 {master} 2\n"
            "sentinel down-after-milliseconds kefu 1000\nsentinel failover-timeout kefu 5000\n")
        self.command = ["redis-server", str(configuration), "--sentinel", "--port", str(port(self))]


class Cluster(Group):
    """Three masters with replicas; a node that is silent for a second is replaced."""

    def __init__(self, folder, *options, replicas=1):
        options = (
            "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no", "--cluster-announce-ip", "127.0.0.1", *options)
        self.members = self.servers = [member(folder, f"node-{n}", n, *options) for n in range(3 + 3 * replicas)]
        self.master, self.replicas = self.members[0], replicas
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port(part)}" for part in self.members)

    def join(self):
        nodes = [f"127.0.0.1:{port(part)}" for part in self.members]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", str(self.replicas), "--cluster-yes"], check=True, capture_output=True)
        self.settle()

    def masters(self, view):
        """The ports of the masters with slots, as a node sees them."""
        lines = [line.split() for line in (view.bulk("CLUSTER", "NODES") or b"").splitlines()]
        return {int(words[1].split(b"@")[0].split(b":")[1]) for words in lines if b"master" in words[2] and b"fail" not in words[2] and len(words) > 8}

    def current_master(self):
        """A master, as the last node sees it."""
        masters = self.masters(self.members[-1])
        return next(part for part in self.members if port(part) in masters)

    def is_replaced(self, master):
        masters = self.masters(next(part for part in reversed(self.members) if part is not master))
        return len(masters) == 3 and port(master) not in masters

    def settle(self):
        """Waits until all nodes see the same three masters, and every other one replicates."""
        def is_settled():
            told = [part.command_now("INFO", "replication") or b"" for part in self.members]
            return all(b"cluster_state:ok" in (part.command_now("CLUSTER", "INFO") or b"") for part in self.members) and len(
                {frozenset(self.masters(part)) for part in self.members}) == 1 and len(self.masters(self.members[0])) == 3 and sum(
                b"role:master" in text for text in told) == 3 and all(b"role:master" in text or b"master_link_status:up" in text for text in told)
        self.until(is_settled, "the cluster never settled")
