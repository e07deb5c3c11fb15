"""`dialogue-orchestrator test`: a user's own conversations, with a report to read and an exit code."""

import subprocess

import pytest
from conftest import BIN, ROOT

DOMAIN = ROOT / "Deploy" / "domains" / "ecommerce"


def run(*arguments):
    return subprocess.run([BIN / "dialogue-orchestrator", "test", "--domain", DOMAIN, *arguments], capture_output=True, text=True, timeout=120)


def test_the_shipped_conversations_pass():
    result = run()
    assert result.returncode == 0, result.stdout
    count = int(result.stdout.split()[0])
    assert count >= 150 and f"{count} passed, 0 failed" in result.stdout


def test_what_is_not_as_expected_is_reported(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("""conversations:
  - name: a refund
    turns:
      - {user: 我要退款, heard: refund_request, flow: refund_request, awaiting: order_id}
  - name: a wrong expectation
    turns:
      - {user: 我要退款, heard: refund_request, flow: return_request, says: 订单号}
""")
    result = run("--conversations", tmp_path)
    assert result.returncode == 1
    for text in [f"✗ {file}:5: a wrong expectation", "line 7: 我要退款", "flow: return_request was expected, and it is refund_request",
                 "2 conversations: 1 passed, 1 failed"]:
        assert text in result.stdout
    assert run("--conversations", file, "--name", "refund").returncode == 0


@pytest.mark.parametrize("text, finding", [
    ("conversations:\n  - name: x\n    turns:\n      - {user: 你好, heard: greeting, flow: refund_reqest}\n", ":4:43: unknown flow 'refund_reqest'; did you mean 'refund_request'?"),
    ("conversations:\n  - name: x\n    turns:\n      - {user: 你好, heard: greeting, found: {phone: '1'}}\n", ":4:52: '1' is not in '你好'"),
    ("conversations:\n  - name: x\n    turns:\n      - {usr: 你好, heard: greeting}\n", ":4:10: unknown key 'usr'; did you mean 'user'?"),
    ("conversations: 1\n", ":1:16: 'conversations' must be a list"),
])
def test_a_file_with_a_fault_is_told_by_place(tmp_path, text, finding):
    (tmp_path / "own.yaml").write_text(text)
    result = run("--conversations", tmp_path)
    assert result.returncode != 0 and f"{tmp_path}/own.yaml{finding}" in result.stderr
