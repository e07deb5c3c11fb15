"""The real parts of a Kefu that is to be broken: each can be killed, frozen and started again at the same address."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KEFU_BIN", ROOT / ".build" / "release"))
CHITCHAT_PYTHON = pathlib.Path(os.environ.get("KEFU_CHITCHAT_PYTHON", pathlib.Path.home() / ".cache/kefu/chitchat/bin/python"))


class Part:
    """A process. `command` starts it; `wait` returns when it answers."""

    def __init__(self, name, command, log, prefix=(), env=None):
        self.name, self.command, self.log, self.prefix = name, [str(word) for word in command], log, list(prefix)
        self.env = {**os.environ, **(env or {})}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, *self.command], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=log)
        self.wait()

    def wait(self):
        """Our servers say in their first line where they listen."""
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening grpc="), f"{self.name} said {line!r}; its log is {self.log}:\n{pathlib.Path(self.log).read_text()[-2000:]}"

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As by the kernel when memory is short: no word of goodbye."""
        if self.is_running:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.reap()

    def reap(self):
        if self.process is not None:
            self.process.wait(60)
            self.process.stdout.close()
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, timeout=60):
        """Asks it to go; gives its exit status."""
        self.process.terminate()
        status = self.process.wait(timeout)
        self.reap()
        return status


class Redis(Part):
    """A private redis-server; its data outlives it."""

    def __init__(self, folder, *more, port=0, bind="127.0.0.1", prefix=(), durable=True, log=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = f"{self.folder}/redis.sock"
        self.url = f"unix://{self.socket}"
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        log = log or f"{self.folder}/redis.log"
        super().__init__(
            "redis",
            ["redis-server", "--port", port, "--bind", bind, "--protected-mode", "no", "--unixsocket", self.socket, "--dir", self.folder,
             "--logfile", log, "--save", "", *kept, *more], log, prefix=prefix)

    def wait(self):
        for _ in range(1000):
            if self.command_now("PING") == b"+PONG\r\n":
                return
            assert self.is_running, f"redis-server ended: {pathlib.Path(self.log).read_text()[-2000:]}"
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def command_now(self, *words):
        """The raw reply to one command; None where Redis does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(self.socket)
                encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
                connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
                return connection.recv(1 << 20)
        except OSError:
            return None

    def bulk(self, *words):
        """The bytes of one bulk reply; None where there is none."""
        reply = self.command_now(*words)
        if not reply or not reply.startswith(b"$") or reply.startswith(b"$-1"):
            return None
        head, _, rest = reply.partition(b"\r\n")
        return rest[:int(head[1:])]


class IntentServer(Part):
    """The recogniser, with the light model: faults are looked at, not the model."""

    def __init__(self, folder, name="intent"):
        self.address = f"unix:{folder}/{name}.sock"
        super().__init__(
            name, [BIN / "intent-server", "serve", "--listen", self.address, "--default-model", "ecommerce-light", "--threads", "1"],
            f"{folder}/{name}.log")


class Orchestrator(Part):
    """One of the orchestrators."""

    def __init__(self, folder, number, understanding, redis_url, *more, prefix=(), env=None, listen=None):
        self.address = listen or f"unix:{folder}/orchestrator-{number}.sock"
        super().__init__(
            f"orchestrator-{number}",
            [BIN / "dialogue-orchestrator", "serve", "--listen", self.address, "--understanding", understanding, "--redis", redis_url,
             "--domain-poll-ms", "0", *more], f"{folder}/orchestrator-{number}.log", prefix=prefix, env=env)


class Chitchat(Part):
    """The model of small talk, by TensorFlow."""

    def __init__(self, folder, model):
        self.address = f"127.0.0.1:{free_port()}"
        super().__init__(
            "chitchat", [CHITCHAT_PYTHON, ROOT / "Training/chitchat/serve.py", "--listen", self.address, "--model", f"chitchat={model}"],
            f"{folder}/chitchat.log", env={"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"})

    @staticmethod
    def train(folder):
        """Makes the small model; some ten seconds."""
        subprocess.run(
            [CHITCHAT_PYTHON, ROOT / "Training/chitchat/train.py", "--output", pathlib.Path(folder) / "1"], check=True, capture_output=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"})
        return folder


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Kefu:
    """Redis, an intent server and two orchestrators in a folder of their own."""

    def __init__(self, intent_server=None, redis=None, redis_url=None, orchestrator_options=(), orchestrators=2, **orchestrator_settings):
        self.temporary = tempfile.TemporaryDirectory(prefix="kefu-faults-")
        self.folder = pathlib.Path(self.temporary.name)
        self.owns_intent_server = intent_server is None
        self.intent_server = intent_server or IntentServer(self.folder)
        self.redis = redis(self.folder / "redis") if redis else Redis(self.folder / "redis")
        self.redis_url = redis_url(self) if callable(redis_url) else redis_url or self.redis.url
        self.orchestrators = []
        self.plan = (orchestrators, orchestrator_options, orchestrator_settings)

    def start(self):
        if self.owns_intent_server:
            self.intent_server.start()
        self.redis.start()
        count, options, settings = self.plan
        for number in range(count):
            part = Orchestrator(self.folder, number, self.intent_server.address, self.redis_url, *options, **settings)
            part.start()
            self.orchestrators.append(part)
        return self

    @property
    def addresses(self):
        return [part.address for part in self.orchestrators]

    def stop(self):
        for part in [*self.orchestrators, self.redis, *([self.intent_server] if self.owns_intent_server else [])]:
            part.kill()
        self.temporary.cleanup()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()
