"""Ten thousand conversations open at once in one orchestrator: memory and threads of idle streams, and all of them coming back in the same second.

    python Benchmarks/conversations.py [--streams 10000] [--connections 100] [--idle 10]

Needs release binaries in .build/release and Benchmarks/.build/release. Redis and the intent server (its light model) run beside it.
"""

import pathlib
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests/Faults"))

import parts  # noqa: E402


def main():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Pings come often, so that a short run shows that they keep streams open.
    with parts.Kefu(orchestrators=1, listen=f"127.0.0.1:{parts.free_port()}", orchestrator_options=("--keepalive-ms", "2000")) as kefu:
        orchestrator = kefu.orchestrators[0]
        done = subprocess.run(
            [ROOT / "Benchmarks/.build/release/Conversations", "--server", orchestrator.address, "--pid", str(orchestrator.process.pid), *sys.argv[1:]])
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
