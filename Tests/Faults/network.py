"""A network namespace with one cable into it, which a firewall can cut. Needs root."""

import contextlib
import os
import shutil
import subprocess


def missing():
    """Why there can be no namespace here; None: there can."""
    for tool in ("ip", "iptables"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    name = f"kefu-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    try:
        firewall = subprocess.run(["ip", "netns", "exec", name, "iptables", "-A", "INPUT", "-j", "DROP"], capture_output=True, text=True)
        return None if firewall.returncode == 0 else f"iptables does not work in a namespace: {firewall.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


class Namespace:
    """A namespace of this process; its address is `inside`, ours on the cable is `outside`."""

    def __init__(self):
        number = os.getpid() % 250
        self.name, self.cable = f"kefu-{os.getpid()}", f"kefu{os.getpid() % 100000}"
        self.outside, self.inside = f"198.18.{number}.1", f"198.18.{number}.2"
        self.prefix = ["ip", "netns", "exec", self.name]

    def __enter__(self):
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
            run("ip", "addr", "add", f"{self.outside}/30", "dev", self.cable)
            run("ip", "link", "set", self.cable, "up")
            for words in (["addr", "add", f"{self.inside}/30", "dev", "cable"], ["link", "set", "cable", "up"], ["link", "set", "lo", "up"]):
                run(*self.prefix, "ip", *words)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # The cable goes with the namespace, once its processes are gone.
        subprocess.run(["ip", "link", "del", self.cable], capture_output=True)
        run("ip", "netns", "del", self.name)

    @contextlib.contextmanager
    def cut(self):
        """Drops every packet, in both directions, without a word to either side."""
        chains = ("INPUT", "OUTPUT")
        for chain in chains:
            run(*self.prefix, "iptables", "-A", chain, "-j", "DROP")
        try:
            yield
        finally:
            for chain in chains:
                run(*self.prefix, "iptables", "-D", chain, "-j", "DROP")


def run(*words):
    subprocess.run(words, check=True, capture_output=True)
