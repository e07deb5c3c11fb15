"""The inspector in a real Chromium: a conversation, what is shown of it, keys, languages, sizes, and what it must not do."""

import os
import pathlib
import re
import subprocess
import urllib.error
import urllib.request

import pytest
from conftest import BIN, ROOT, orchestrator
from metrics import get
from playwright.sync_api import expect, sync_playwright

CHROMIUM = next((path for path in ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"] if os.path.exists(path)), None)
SCREENSHOTS = os.environ.get("KEFU_SCREENSHOTS")
TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def server(intent_server, redis):
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--inspector", "--recognition-timeout-ms", "9000",
        "--understanding-metrics",
        f"http://{intent_server.http}/metrics")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "no Chromium: .ci/setup installs Debian's chromium-headless-shell"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server, request):
    options = {"viewport": {"width": 1280, "height": 860}, "locale": "zh-CN", **getattr(request, "param", {})}
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda message: page.faults.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(f"http://{server.http}/inspector")
    yield page
    assert page.faults == []
    context.close()


def say(page, text):
    count = page.locator("#messages .mine").count()
    page.fill("#query", text)
    page.press("#query", "Enter")
    expect(page.locator("#messages .mine")).to_have_count(count + 1)
    expect(page.locator("#messages .theirs")).to_have_count(count + 1)


def shot(page, name):
    """For the README: `KEFU_SCREENSHOTS=DIR`."""
    if SCREENSHOTS:
        page.wait_for_timeout(6000)
        pathlib.Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def conversation(page):
    for text in ["我要改地址", "订单号是202411110001", "浙江省杭州市西湖区文三路100号"]:
        say(page, text)


def test_a_conversation_is_seen_through(page):
    conversation(page)
    assert page.locator("#state dd").all_text_contents()[:2] == ["address_change", "confirm"]
    assert page.locator("#marked mark").first.text_content() == "浙江省杭州市西湖区文三路100号address"
    assert page.locator("#intents li").count() == 3
    slots = page.locator("#slots tbody tr").all_text_contents()
    assert any("202411110001" in row for row in slots) and any("文三路" in row for row in slots)
    assert page.locator("#history tbody tr").count() == 3
    steps = page.locator("#steps li").all_text_contents()
    assert any("识别" in step for step in steps) and any("Redis 读取" in step for step in steps)
    assert any("Redis 提交" in step for step in steps) and any("其中计算" in step for step in steps)
    assert page.locator("#total").text_content().endswith("ms") and "ecommerce@" in page.locator("#model").text_content()
    shot(page, "desktop-light")
    # An earlier turn, as it was.
    page.locator("#messages .mine button").first.click()
    expect(page.locator("#intents li").first).to_contain_text("address_change")
    assert page.locator("#state dd").all_text_contents()[:2] == ["address_change", "order_id"]
    # The same seq again is a replay.
    page.click("#again")
    expect(page.locator("#messages .theirs").last).to_contain_text("重放")
    # Every chart has its line, and the rate has seen the turns.
    expect(page.locator("#charts figure")).to_have_count(6)
    expect(page.locator("#charts figure").first.locator("polyline")).to_have_attribute("points", re.compile(r"\d+,\S+ \d+,"))
    expect(page.locator("#trouble")).to_have_text("")


def test_the_variant_of_an_experiment_is_told(browser, intent_server, redis, tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "name: one\nsalt: salt-of-the-tests\ncontrol: everybody\nvariants:\n  everybody: {model: ecommerce}\n  nobody: {share: 0, model: ecommerce}\n",
        encoding="utf-8")
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--inspector", "--experiment", str(path))
    try:
        page = browser.new_context(locale="zh-CN").new_page()
        page.goto(f"http://{server.http}/inspector")
        say(page, "我要改地址")
        expect(page.locator("#model")).to_have_text(re.compile(r"^ecommerce@\S+ · 实验组 everybody$"))
        chat = subprocess.run(
            [BIN / "dialogue-orchestrator", "chat", "--server", server.address, "--uid", "chat"], input="你好\n", capture_output=True, text=True,
            timeout=60)
        assert "variant everybody" in chat.stdout, chat
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("page", [{"color_scheme": "dark", "locale": "en-GB"}], indirect=True)
def test_in_the_dark_and_in_english(page):
    conversation(page)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("#recognition-title").text_content() == "Recognition"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
    page.click("#language")
    assert page.locator("#recognition-title").text_content() == "识别" and page.locator("html").get_attribute("lang") == "zh-Hans"
    page.click("#language")
    shot(page, "desktop-dark")


@pytest.mark.parametrize("page", [
    {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"}], indirect=True)
def test_on_a_phone(page):
    conversation(page)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "it scrolls sideways"
    for selector in ["#query", "#form button[type=submit]", "#recognition-title", "#charts"]:
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
    shot(page, f"phone-{page.viewport_size['width']}")


def test_by_keys_alone(page):
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("你好")
    page.keyboard.press("Enter")
    expect(page.locator("#messages .theirs")).to_have_count(1)
    page.keyboard.press("ArrowUp")
    assert page.input_value("#query") == "你好"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('#messages') !== null")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    before = page.locator("#uid").text_content()
    page.keyboard.press("Alt+n")
    expect(page.locator("#messages li")).to_have_count(0)
    assert page.locator("#uid").text_content() != before


def test_what_is_said_is_text_and_never_markup(page):
    attack = '<img src=x onerror="document.title=1"><script>document.title=2</script>𝔘🙂 订单号是202411110001'
    say(page, attack)
    assert page.locator("#messages .mine button").first.text_content().startswith(attack)
    assert page.locator("#messages img, #panels img, #messages script").count() == 0 and page.title() == "Kefu inspector"
    # Offsets count scalars, those outside the basic plane once.
    marks = page.locator("#marked mark").all_text_contents()
    assert not marks or any("202411110001" in mark for mark in marks)


def test_a_message_that_fails_is_shown_as_failed(page):
    page.fill("#query", "好" * 513)
    page.press("#query", "Enter")
    expect(page.locator("#messages .failed")).to_contain_text("513 Unicode scalars")
    # The browser itself tells of the status.
    assert len(page.faults) == 1 and "400" in page.faults.pop()


def test_the_policy_forbids_scripts_of_others(server):
    with urllib.request.urlopen(f"http://{server.http}/inspector", timeout=10) as response:
        policy, text = response.headers["Content-Security-Policy"], response.read().decode()
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert "<script>" not in text and "style=" not in text and " onclick" not in text
    # A page elsewhere whose name is made to point here.
    for path, data in [("/inspector", None), ("/inspector/api/turn", b'{"uid":"u","query":"x"}'), ("/inspector/api/understanding-metrics", None)]:
        request = urllib.request.Request(
            f"http://{server.http}{path}", data, headers={"Host": "attacker.example:80", "Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as failure:
            urllib.request.urlopen(request, timeout=10)
        assert failure.value.code == 403


def test_with_a_token_the_page_asks_for_it(browser, intent_server, redis, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--inspector", "--http-token-file", str(secret))
    try:
        page = browser.new_page()
        page.goto(f"http://{server.http}/inspector")
        page.fill("#query", "你好")
        page.press("#query", "Enter")
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        expect(page.locator("#messages .theirs")).to_have_count(1)
        # Without the intent server's metrics there are fewer charts, and a line says why.
        expect(page.locator("#trouble")).to_contain_text("--understanding-metrics")
        expect(page.locator("#charts figure")).to_have_count(4)
        page.close()
    finally:
        assert server.stop() == 0


def test_off_unless_asked_for(intent_server, redis):
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0")
    try:
        assert get(server, "/inspector")[0] == 404
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("flags, words", [
    (["--http", "0.0.0.0:0", "--inspector"], "loopback"), (["--inspector"], "--http"),
    (["--http", "127.0.0.1:0", "--inspector", "--understanding-metrics", "nowhere"], "--understanding-metrics is 'nowhere'")])
def test_what_is_not_allowed_is_told(flags, words):
    result = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", *flags], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and words in result.stderr and "listening" not in result.stdout


def test_elsewhere_where_it_is_allowed(intent_server, redis):
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--http", "0.0.0.0:0", "--inspector", "--inspector-anywhere")
    try:
        server.http = server.http.replace("0.0.0.0", "127.0.0.1")
        assert get(server, "/inspector")[0] == 200
    finally:
        assert server.stop() == 0
