"use strict";

// Everything that comes from outside goes into the page by textContent only.

const TEXTS = {
  zh: {
    title: "对话检视", customer: "顾客", fresh: "新对话", talk: "对话", message: "消息", send: "发送", again: "重发同一 seq",
    keys: "回车发送；/ 聚焦输入；↑ 取回上一条；点选任一轮查看当时的情况。", recognition: "识别", time: "耗时", state: "会话状态", history: "历史",
    live: "实时指标", token: "此服务要求访问令牌", go: "继续", slot: "槽位", value: "原文", normalized: "标准形", confidence: "置信度",
    flow: "流程", awaiting: "等待", suspended: "挂起的流程", handedOff: "转人工", turns: "轮数", source: "来源", degraded: "降级", replayed: "重放", variant: "实验组",
    ttl: "剩余寿命", yes: "是", no: "否", none: "无", intent: "意图", seq: "seq", at: "时间", seconds: "秒",
    noRecognition: "没有识别结果（意图服务不可用，或本轮是重放）", batch: "批大小 {0}，填充长度 {1}，路径 {2}",
    own: "编排（其余）", load: "Redis 读取", commit: "Redis 提交", replay: "Redis 取回复", action: "业务后端", chitchat: "闲聊模型",
    recognitionStep: "识别（往返）", queue: "　其中排队", compute: "　其中计算",
    rate: "轮/秒", latency: "时延 ms", batchSize: "平均批大小", depth: "排队数", routes: "路径/秒", flight: "进行中",
    interactive: "交互", standard: "标准", background: "后台", model: "模型", light: "轻", heavy: "重", cache: "缓存",
    away: "读不到指标：", without: "没有配置意图服务的指标地址（--understanding-metrics），因此没有批与队列的图。",
  },
  en: {
    title: "inspector", customer: "customer", fresh: "New conversation", talk: "Conversation", message: "Message", send: "Send",
    again: "Same seq again", keys: "Enter sends; / goes to the input; ↑ brings the last message back; choose any turn to see how it was.",
    recognition: "Recognition", time: "Time", state: "Session", history: "History", live: "Live", token: "This server asks for its token",
    go: "Go on", slot: "slot", value: "as written", normalized: "standard form", confidence: "confidence", flow: "flow", awaiting: "awaiting",
    suspended: "suspended flows", handedOff: "with a person", turns: "turns", source: "source", degraded: "degraded", replayed: "replayed", variant: "variant",
    ttl: "time to live", yes: "yes", no: "no", none: "none", intent: "intent", seq: "seq", at: "at", seconds: "s",
    noRecognition: "No recognition: the intent server was out of reach, or this turn is a replay.",
    batch: "batch of {0}, padded length {1}, route {2}", own: "orchestrator (rest)", load: "Redis load", commit: "Redis commit",
    replay: "Redis kept reply", action: "shop's backend", chitchat: "small-talk model", recognitionStep: "recognition (round trip)",
    queue: "  of it queue", compute: "  of it compute", rate: "turns/s", latency: "reply time ms", batchSize: "mean batch size",
    depth: "queue depth", routes: "routes/s", flight: "in flight", interactive: "interactive", standard: "standard",
    background: "background", model: "model", light: "light", heavy: "heavy", cache: "cache", away: "The metrics cannot be read: ",
    without: "No address of the intent server's metrics is set (--understanding-metrics), so there are no charts of batches and queues.",
  },
};

const $ = (id) => document.getElementById(id);
let language = (navigator.language || "zh").startsWith("zh") ? "zh" : "en";
const text = (key) => TEXTS[language][key] ?? key;
const filled = (key, ...values) => text(key).replace(/\{(\d)\}/g, (_, n) => values[n]);

/** An element with a class, text and children. */
function element(name, { className, content, ...attributes } = {}, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// ---- The server

let token = sessionStorage.getItem("token");

function askForToken() {
  return new Promise((resolve) => {
    $("ask").addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("token", token);
      resolve();
    }, { once: true });
    if (!$("ask").open) $("ask").showModal();
  });
}

async function call(path, options = {}, mayAsk = true) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401 && mayAsk) {
    await askForToken();
    return call(path, options);
  }
  return response;
}

// ---- Turns

const turns = [];
let uid, seq, chosen = -1, isBusy = false;

function begin() {
  uid = `inspector-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
  seq = 0;
  turns.length = 0;
  chosen = -1;
  $("messages").replaceChildren();
  $("uid").textContent = uid;
  $("again").disabled = true;
  show();
  $("query").focus();
}

async function say(query, number) {
  if (isBusy) return;
  isBusy = true;
  const turn = { query, seq: number };
  turns.push(turn);
  try {
    const response = await call("/inspector/api/turn", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ uid, query, seq: number }),
    });
    const body = await response.json();
    if (response.ok) Object.assign(turn, body); else turn.failure = `${body.status} ${body.code}: ${body.detail}`;
  } catch (error) {
    turn.failure = String(error);
  }
  isBusy = false;
  $("again").disabled = false;
  choose(turns.length - 1);
}

function choose(index) {
  chosen = index;
  show();
  $("messages").querySelectorAll("[aria-pressed=true]").forEach((node) => node.scrollIntoView({ block: "nearest" }));
}

function bubble(index, className, content, detail) {
  const button = element("button", { type: "button", content, "aria-pressed": String(index === chosen) });
  if (detail) button.append(element("small", { content: detail }));
  button.addEventListener("click", () => choose(index));
  return element("li", { className }, button);
}

function showMessages() {
  const rows = [];
  turns.forEach((turn, index) => {
    rows.push(bubble(index, "mine", turn.query, `seq ${turn.seq}`));
    if (turn.failure) rows.push(bubble(index, "failed", turn.failure));
    if (!turn.reply) return;
    for (const said of turn.reply.agent_messages) rows.push(bubble(index, "agent", said.text, said.agent));
    const notes = [turn.reply.source.replace("REPLY_SOURCE_", "").toLowerCase()];
    if (turn.reply.replayed) notes.push(text("replayed"));
    if (turn.reply.degraded) notes.push(`${text("degraded")}: ${turn.reply.degraded_parts.join(", ")}`);
    rows.push(bubble(index, "theirs", turn.reply.reply, notes.join(" · ")));
  });
  $("messages").replaceChildren(...rows);
}

// ---- Panels

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (us) => `${(us / 1000).toFixed(us < 100000 ? 2 : 0)} ms`;

function bar(name, start, length, figure, className = "") {
  const fill = element("i");
  fill.style.left = `${Math.min(100, 100 * start)}%`;
  fill.style.width = `${Math.max(0, Math.min(100 - 100 * start, 100 * length))}%`;
  return element("li", { className }, element("span", { content: name }), element("div", { className: "track" }, fill), element("output", { content: figure }));
}

function table(id, heads, rows) {
  if (!rows.length) return $(id).replaceChildren();
  const cells = (kind, values) => element("tr", {}, ...values.map((value) => element(kind, { content: value })));
  $(id).replaceChildren(element("thead", {}, cells("th", heads)), element("tbody", {}, ...rows.map((row) => cells("td", row))));
}

/** The message with its slots marked; offsets are Unicode scalars. */
function showMarked(query, slots) {
  const scalars = Array.from(query), parts = [];
  let position = 0;
  [...slots].sort((a, b) => a.start - b.start).forEach((slot, index) => {
    if (slot.start < position) return;
    parts.push(scalars.slice(position, slot.start).join(""));
    parts.push(element("mark", { className: `mark${index % 5}`, content: scalars.slice(slot.start, slot.end).join("") }, element("small", { content: slot.name })));
    position = slot.end;
  });
  $("marked").replaceChildren(...parts, scalars.slice(position).join(""));
}

function showRecognition(turn) {
  const found = turn?.inspection?.recognition;
  showMarked(turn?.query ?? "", found?.slots ?? []);
  $("intents").replaceChildren(...(found?.intents ?? []).map((intent) => bar(intent.name, 0, intent.confidence, percent(intent.confidence))));
  table("found", [text("slot"), text("value"), text("normalized"), text("confidence")],
    (found?.slots ?? []).map((slot) => [slot.name, slot.value, slot.normalized, percent(slot.confidence)]));
  const variant = turn?.reply?.recognition?.variant;
  const model = found && variant ? `${found.model} · ${text("variant")} ${variant}` : found?.model;
  $("model").textContent = model ?? (turn?.inspection ? text("noRecognition") : "");
}

function showTime(turn) {
  const seen = turn?.inspection;
  $("total").textContent = seen ? milliseconds(seen.turn_us) : "";
  $("batch").textContent = seen?.recognition
    ? filled("batch", seen.recognition.batch_size, seen.recognition.padded_length, text(seen.recognition.route)) : "";
  if (!seen) return $("steps").replaceChildren();
  const total = Math.max(1, seen.turn_us), lanes = [];
  const colours = { recognition: 0, load: 2, commit: 2, replay: 2, action: 4, chitchat: 4 };
  for (const step of seen.steps) {
    const name = step.step === "recognition" ? text("recognitionStep") : text(step.step);
    // What the turn did without was cancelled: no fault.
    const className = step.error ? (step.error === "CANCELLED" ? "rest" : "bad") : `lane${colours[step.step] ?? 3}`;
    lanes.push(bar(step.error ? `${name}: ${step.error}` : name, step.offset_us / total, step.duration_us / total, milliseconds(step.duration_us), className));
    if (step.step !== "recognition" || !seen.recognition) continue;
    const { queue_us: queue, compute_us: compute } = seen.recognition;
    const rest = Math.max(0, step.duration_us - queue - compute) / 2;
    lanes.push(bar(text("queue"), (step.offset_us + rest) / total, queue / total, milliseconds(queue), "lane1"));
    lanes.push(bar(text("compute"), (step.offset_us + rest + queue) / total, compute / total, milliseconds(compute), "lane3"));
  }
  // What no step covers.
  let covered = 0, end = 0;
  for (const step of seen.steps) {
    const from = Math.max(end, step.offset_us), to = step.offset_us + step.duration_us;
    if (to > from) covered += to - from;
    end = Math.max(end, to);
  }
  lanes.push(bar(text("own"), 0, Math.max(0, seen.turn_us - covered) / total, milliseconds(Math.max(0, seen.turn_us - covered)), "rest"));
  $("steps").replaceChildren(...lanes);
}

function showSession(turn) {
  const session = turn?.reply?.session;
  const pairs = session ? [
    ["flow", session.flow || text("none")], ["awaiting", session.awaiting || text("none")],
    ["suspended", session.suspended_flows.join(" › ") || text("none")], ["handedOff", text(session.handed_off ? "yes" : "no")],
    ["turns", session.turns], ["seq", session.last_seq], ["ttl", `${session.ttl_seconds} ${text("seconds")}`],
  ] : [];
  $("state").replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", { content: text(name) }), element("dd", { content: value })]));
  table("slots", [text("slot"), text("value"), text("normalized")], (session?.slots ?? []).map((slot) => [slot.name, slot.value, slot.normalized]));
  table("history", [text("seq"), text("intent"), text("confidence"), text("source"), text("at")],
    [...(session?.history ?? [])].reverse().map((turn) => [
      turn.seq, turn.intent || text("none"), percent(turn.confidence), turn.source.replace("REPLY_SOURCE_", "").toLowerCase(),
      new Date(turn.at_ms).toLocaleTimeString(language === "zh" ? "zh-CN" : "en-GB")]));
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = text(node.dataset.text); });
  $("language").textContent = language === "zh" ? "English" : "中文";
  $("language").lang = language === "zh" ? "en" : "zh-Hans";
  const turn = turns[chosen];
  showMessages();
  showRecognition(turn);
  showTime(turn);
  showSession(turn);
  showCharts();
}

// ---- Live charts, from the two /metrics

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

class Samples {
  constructor(text) {
    this.list = [];
    for (const line of text.split("\n")) {
      const match = line.startsWith("#") ? null : LINE.exec(line);
      if (match) this.list.push({ name: match[1], labels: Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map((pair) => [pair[1], pair[2]])), value: Number(match[3]) });
    }
  }
  sum(name, labels = {}) {
    return this.list.filter((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
      .reduce((sum, sample) => sum + sample.value, 0);
  }
  buckets(name) {
    return this.list.filter((sample) => sample.name === `${name}_bucket`)
      .map((sample) => [sample.labels.le === "+Inf" ? Infinity : Number(sample.labels.le), sample.value]);
  }
}

/** A quantile between two moments of a histogram, by the buckets; null: nothing was observed. */
function quantile(share, before, now) {
  const counts = now.map(([bound, count], index) => [bound, count - (before[index]?.[1] ?? 0)]);
  const all = counts.length ? counts[counts.length - 1][1] : 0;
  if (all <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * all) return bound === Infinity ? low : low + (bound - low) * (share * all - below) / Math.max(1e-9, count - below);
    [low, below] = [bound, count];
  }
  return low;
}

const KEPT = 120, WINDOW = 10, past = [];
const series = {
  rate: { lines: { rate: [] } }, latency: { lines: { TP50: [], TP99: [] } }, flight: { lines: { flight: [] } },
  batchSize: { lines: { batchSize: [] } }, depth: { lines: { interactive: [], standard: [], background: [] } },
  routes: { lines: { model: [], light: [], heavy: [], cache: [] } },
};

function push(chart, line, value) {
  const values = series[chart].lines[line];
  values.push(value);
  if (values.length > KEPT) values.shift();
}

function record(now) {
  past.push(now);
  if (past.length > WINDOW + 1) past.shift();
  const then = past[0], seconds = Math.max(.001, (now.at - then.at) / 1000);
  const rise = (side, name, labels) => now[side] && then[side] ? Math.max(0, now[side].sum(name, labels) - then[side].sum(name, labels)) : null;
  push("rate", "rate", rise("own", "kefu_dialogue_turns_total") / seconds);
  const [before, after] = [then.own.buckets("kefu_dialogue_turn_seconds"), now.own.buckets("kefu_dialogue_turn_seconds")];
  for (const [name, share] of [["TP50", .5], ["TP99", .99]]) {
    const value = quantile(share, before, after);
    push("latency", name, value === null ? null : 1000 * value);
  }
  push("flight", "flight", now.own.sum("kefu_dialogue_turns_in_flight"));
  for (const route of ["model", "light", "heavy", "cache"]) push("routes", route, rise("own", "kefu_dialogue_recognitions_total", { route }) / seconds);
  const batches = rise("understanding", "kefu_understanding_batch_rows_count"), rows = rise("understanding", "kefu_understanding_batch_rows_sum");
  push("batchSize", "batchSize", batches ? rows / batches : null);
  for (const priority of ["interactive", "standard", "background"]) {
    push("depth", priority, now.understanding ? now.understanding.sum("kefu_understanding_queue_depth", { priority }) : null);
  }
}

const figure = (value) => value === null || value === undefined ? "–" : value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);

function chart(name, { lines }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 120 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(1e-9, ...Object.values(lines).flat().filter((value) => value !== null));
  const caption = element("figcaption", { content: text(name) }), names = Object.keys(lines);
  names.forEach((line, index) => {
    const offset = KEPT - lines[line].length;
    const points = lines[line].flatMap((value, x) => value === null ? [] : [`${x + offset},${(39 - 37 * value / top).toFixed(2)}`]);
    const path = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    path.setAttribute("points", points.join(" "));
    path.setAttribute("class", `s${index}`);
    svg.append(path);
    const last = element("b", { content: figure(lines[line].at(-1)) });
    caption.append(names.length > 1 ? element("span", { className: `key s${index}`, content: text(line) }, last) : last);
  });
  return element("figure", {}, caption, svg);
}

let understandingIsSet = true;

function showCharts() {
  const names = Object.keys(series).filter((name) => understandingIsSet || !["batchSize", "depth"].includes(name));
  $("charts").replaceChildren(...names.map((name) => chart(name, series[name])));
}

async function poll() {
  try {
    const own = await call("/metrics", {}, false);
    if (!own.ok) throw new Error(`${own.status}`);
    const other = understandingIsSet ? await call("/inspector/api/understanding-metrics", {}, false) : null;
    if (other?.status === 404) understandingIsSet = false;
    record({ at: Date.now(), own: new Samples(await own.text()), understanding: other?.ok ? new Samples(await other.text()) : null });
    $("trouble").textContent = !understandingIsSet ? text("without") : other?.ok ? "" : text("away") + (await other.json()).detail;
    showCharts();
  } catch (error) {
    $("trouble").textContent = text("away") + String(error);
  }
  setTimeout(poll, 1000);
}

// ---- Keys

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = $("query").value;
  if (!query || isBusy) return;
  $("query").value = "";
  seq += 1;
  say(query, seq);
});
$("again").addEventListener("click", () => { const last = turns[turns.length - 1]; if (last) say(last.query, last.seq); });
$("new").addEventListener("click", begin);
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; show(); });
document.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping) { event.preventDefault(); $("query").focus(); }
  if (event.altKey && event.key.toLowerCase() === "n") { event.preventDefault(); begin(); }
  if (event.key === "ArrowUp" && event.target === $("query") && !$("query").value && turns.length) {
    event.preventDefault();
    $("query").value = turns[turns.length - 1].query;
  }
});

begin();
poll();
