"""Writes the seed corpus: an input a file in Corpus/TARGET, each such as a real peer sends. What a fuzzer found (found_*) is left alone.

Run from anywhere: python3 Tests/Fuzz/seeds.py (needs protoc).
"""

import pathlib
import struct
import subprocess

here = pathlib.Path(__file__).parent
protos = here.parent.parent / "Protos"
corpus = here / "Corpus"


def message(file, name, text):
    """A protobuf message by its text form."""
    return subprocess.run(
        ["protoc", f"--encode={name}", "-I", protos, protos / file], input=text.encode(), check=True, capture_output=True).stdout


def part(data):
    return struct.pack(">H", len(data)) + data


def seed(target, name, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


DIALOGUE, STORE = ("kefu/dialogue/v1/dialogue.proto", "kefu/store/v1/session.proto")
SESSION = """uid: "u1" turns: 4 last_seq: 4 slots { name: "order_id" value: "202411110001" normalized: "202411110001" } flow: "address_change"
    awaiting: "confirm" history { seq: 4 intent: "inform" confidence: 0.96 at_ms: 1796026200000 source: REPLY_SOURCE_TEMPLATE }
    started_at_ms: 1796026100000 updated_at_ms: 1796026200000 ttl_seconds: 3600 suspended_flows: "refund_request" """
for number, (name, kind, text) in enumerate([
    ("reply_request", "ReplyRequest", 'uid: "u1" query: "我要改地址" seq: 1'),
    ("get_session", "GetSessionRequest", 'uid: "u1"'),
    ("end_session", "EndSessionRequest", 'uid: "用户"'),
    ("reply", "ReplyResponse", f"""uid: "u1" seq: 4 reply: "收到，请您过目。" source: REPLY_SOURCE_TEMPLATE recognition {{ intent: "inform" confidence: 0.96
        slots {{ name: "address" value: "文三路100号" normalized: "文三路100号" }} model: "ecommerce@3" }} session {{ {SESSION} }} degraded: true
        degraded_parts: "chitchat" agent_messages {{ id: "a:1" agent: "小王" text: "您好" at_ms: 1796026200000 }}"""),
    ("session", "Session", SESSION),
    ("session_ended", "EndSessionResponse", "existed: true"),
]):
    seed("dialogue", name, bytes([number]) + message(DIALOGUE, f"kefu.dialogue.v1.{kind}", text))
seed("dialogue", "reply_failed", b"\3" + message(DIALOGUE, "kefu.dialogue.v1.ReplyResponse", 'uid: "u1" seq: 2 error { code: 14 message: "later" retry_after_ms: 100 }'))
seed("dialogue", "agents", b"\3" + message(DIALOGUE, "kefu.dialogue.v1.ReplyResponse", 'uid: "u1" agent_messages { id: "a:1" agent: "小王" text: "您好" at_ms: 1 }'))

UNDERSTANDING = "kefu/understanding/v1/understanding.proto"
RECOGNITION = """intents { name: "address_change" confidence: 0.93 } intents { name: "inform" confidence: 0.04 }
    slots { name: "order_id" value: "202411110001" normalized: "202411110001" start: 4 end: 16 confidence: 0.9 } model: "ecommerce@3" route: ROUTE_HEAVY
    timing { queue_us: 120 compute_us: 9000 batch_size: 4 padded_length: 24 } request_id: "1" """
for number, name, kind, text in [
    (0, "request", "UnderstandRequest", 'text: "我要改地址" priority: PRIORITY_STANDARD model: "ecommerce@3" top_k: 5 request_id: "7"'),
    (1, "response", "UnderstandResponse", RECOGNITION),
    (1, "failed", "UnderstandResponse", 'request_id: "1" error { code: 4 message: "too late" }'),
    (2, "models", "ListModelsResponse", """models { name: "ecommerce" version: "3" state: MODEL_STATE_READY is_default: true device: "cpu"
        intents: ["a", "b"] slot_labels: ["O", "B-x", "I-x"] memory_bytes: 40000000 sha256: "00ff" }"""),
]:
    seed("understanding", name, bytes([number]) + message(UNDERSTANDING, f"kefu.understanding.v1.{kind}", text))

INFERENCE = "inference/grpc_predict_v2.proto"
for number, name, kind, text in [
    (0, "contents", "ModelInferRequest", """model_name: "ecommerce" model_version: "3" id: "1" parameters { key: "priority" value { int64_param: 2 } }
        parameters { key: "timeout" value { string_param: "200000" } } inputs { name: "text" datatype: "BYTES" shape: [2, 1]
        contents { bytes_contents: "\\346\\224\\271\\345\\234\\260\\345\\235\\200" bytes_contents: "hi" } } outputs { name: "intent" } outputs { name: "slot_value" }"""),
    (0, "raw", "ModelInferRequest", """parameters { key: "priority" value { string_param: "background" } } parameters { key: "top_k" value { uint64_param: 3 } }
        inputs { name: "text" datatype: "BYTES" shape: 2 } raw_input_contents: "\\002\\000\\000\\000hi\\003\\000\\000\\000\\346\\224\\271" """),
    (1, "model_ready", "ModelReadyRequest", 'name: "ecommerce" version: "3"'),
    (2, "model_metadata", "ModelMetadataRequest", 'name: "ecommerce"'),
]:
    seed("inference", name, bytes([number]) + message(INFERENCE, f"inference.{kind}", text))

PREDICT = "tensorflow_serving/apis/predict.proto"
for number, name, text in [
    (1, "strings", 'outputs { key: "reply" value { dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "在的呀" } }'),
    (1, "content", """outputs { key: "reply" value { dtype: DT_STRING tensor_shape { dim { size: 2 } dim { size: 1 } } tensor_content: "\\002\\003hiyou" } }"""),
    (1, "scalar", 'outputs { key: "score" value { dtype: DT_FLOAT float_val: 1 } } outputs { key: "reply" value { dtype: DT_STRING string_val: "嗯" } }'),
]:
    seed("tensorflow", name, bytes([number]) + message(PREDICT, "tensorflow.serving.PredictResponse", text))
seed("tensorflow", "versions", b"\0" + message("tensorflow_serving/apis/get_model_status.proto", "tensorflow.serving.GetModelStatusResponse",
     'model_version_status { version: 1 state: AVAILABLE } model_version_status { version: 2 state: LOADING status { error_message: "x" } }'))

ACTIONS = "kefu/actions/v1/actions.proto"
seed("actions", "request", b"\0" + message(ACTIONS, "kefu.actions.v1.PerformRequest", """name: "order.refund" uid: "u1" idempotency_key: "u1:s:4"
    arguments { name: "order_id" value: "202411110001" normalized: "202411110001" } now_ms: 1796026200000 flow: "refund_request" """))
seed("actions", "response", b"\1" + message(ACTIONS, "kefu.actions.v1.PerformResponse", 'values { name: "status" value: "已发货" } values { name: "eta" value: "明天" }'))
seed("actions", "refused", b"\1" + message(ACTIONS, "kefu.actions.v1.PerformResponse", 'refusal: "not_found"'))

HANDOFF = "kefu/handoff/v1/handoff.proto"
for number, (name, kind, text) in enumerate([
    ("list", "ListWaitingRequest", "limit: 20"),
    ("claim", "ClaimRequest", 'uid: "u1" agent: "小王" lease_seconds: 60'),
    ("answer", "AnswerRequest", 'uid: "u1" lease: "l" text: "您好，我来帮您" number: 3'),
    ("renew", "RenewRequest", 'uid: "u1" lease: "l"'),
    ("give_back", "GiveBackRequest", 'uid: "u1" lease: "l" end_flows: true'),
]):
    seed("handoff", name, bytes([number]) + message(HANDOFF, f"kefu.handoff.v1.{kind}", text))

STATE = """id: "s-1" turns: 4 last_seq: 4 slots { name: "order_id" value: "202411110001" normalized: "202411110001" }
    flows { name: "refund_request" asked: ["order_id"] } flows { name: "address_change" asked: ["order_id", "address", "confirm"] } awaiting: "confirm"
    history { seq: 4 intent: "inform" confidence: 0.96 at_ms: 1796026200000 source: 1 } started_at_ms: 1796026100000 updated_at_ms: 1796026200000
    answered_seqs: [1, 2, 3, 4] misunderstood: 1 rule_counts { name: "complaint_repeated" count: 1 } ttl_seconds: 3600 domain_version: "00ff"
    alternatives: ["refund_request"] last_message: 77 repeats: 1"""
state = message(STORE, "kefu.store.v1.SessionState", STATE)
bare = message(STORE, "kefu.store.v1.SessionState", 'id: "s-1" ttl_seconds: 3600 started_at_ms: 1796026100000 updated_at_ms: 1796026200000')
rival = message(STORE, "kefu.store.v1.SessionState", STATE + ' rivals { name: "order_id" value: "202411110002" normalized: "202411110002" }')
asked = message(STORE, "kefu.store.v1.SessionState", """id: "s-1" turns: 2 last_seq: 2 ttl_seconds: 3600 started_at_ms: 1796026100000
    updated_at_ms: 1796026200000 flows { name: "delivery_reschedule" asked: ["order_id", "time"] } awaiting: "time"
    slots { name: "order_id" value: "202411110001" normalized: "202411110001" }""")
offered = message(STORE, "kefu.store.v1.SessionState", """id: "s-1" turns: 3 last_seq: 3 ttl_seconds: 3600 started_at_ms: 1796026100000
    updated_at_ms: 1796026200000 awaiting: "handoff" misunderstood: 3 alternatives: ["order_status", "refund_request"] """)
handed = message(STORE, "kefu.store.v1.SessionState", 'id: "s-1" turns: 3 last_seq: 3 handed_off: true ttl_seconds: 3600')
for name, data in [("state", state), ("bare", bare), ("rival", rival), ("asked", asked), ("offered", offered)]: seed("store", name, b"\0" + data)
DESK = "kefu/store/v1/desk.proto"
query = message(DESK, "kefu.store.v1.Query", 'seq: 4 text: "我要改地址"')
recent = message(DESK, "kefu.store.v1.Recent", 'lines: ["我要改地址", "好的"]')
outbox = message(DESK, "kefu.store.v1.Outbox", 'messages { id: "a:1" agent: "小王" text: "您好" at_ms: 1796026200000 }')
seed("store", "query", b"\1" + query)
seed("store", "recent", b"\2" + recent)
seed("store", "outbox", b"\2" + outbox + outbox)

REFLECTION = "grpc/reflection/v1/reflection.proto"
for name, text in [("list", 'list_services: "*"'), ("file", 'file_by_filename: "kefu/dialogue/v1/dialogue.proto"'),
                   ("symbol", 'host: "h" file_containing_symbol: "kefu.dialogue.v1.Dialogue.Reply"'), ("store", 'file_containing_symbol: "kefu.store.v1.SessionState"'),
                   ("extensions", 'all_extension_numbers_of_type: "kefu.dialogue.v1.Session"'),
                   ("extension", 'file_containing_extension { containing_type: "a.B" extension_number: 1 }')]:
    seed("reflection", name, message(REFLECTION, "grpc.reflection.v1.ServerReflectionRequest", text))

# Text: what customers write, and what tokenizers stumble over (Tests/TokenizationTests).
texts = {
    "order": "订单号是２０２４１１１１０００１，改地址", "marks": "a\u0301\u0323 é ấ \u0344\u200d", "kana": "がギ か\u3099", "special": "[CLS]退款[SEP][MASK]!", "long": "地" * 130,
    "word": "a" * 101, "emoji": "👌🏽好的🙂", "case": "İSTANBUL ΣΑΣ ß SF1234", "controls": "a\u0000b\u00ad\ufeff\u3000c\t\r\n", "hangul": "한국어 \u1112\u1161\u11ab",
}
for number, (name, text) in enumerate(texts.items()):
    seed("tokenizer", name, bytes([2 + 4 + 8 + 16 + number % 2, 30 + number * 7]) + text.encode())
seed("tokenizer", "not_utf8", b"\x1e\x20\xe5\xb9\xff\xc0\x80a")
seed("smalltalk", "hello", "在的呀，今天也要开心哦～")
seed("smalltalk", "number", "您的订单 2024-1111-0001 退款 １９９ 元 ok")
seed("smalltalk", "read_out", "一三八零零一三八零零零 138 0013 8000 SF-123")
seed("vocabulary", "small", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n我\n##我\n地址\nab\n##c\n")
seed("vocabulary", "crlf", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n#\r\n##\r\n###\r\n")
seed("manifest", "manifest", """{"format": 1, "name": "ecommerce", "version": "3", "language": "zh-CN", "intents": ["inform", "affirm"],
 "slot_labels": ["O", "B-order_id", "I-order_id", "X"], "max_length": 128, "temperature": 1.25,
 "normalization": {"full_width_to_half_width": true, "clean_text": true, "chinese_characters": true, "strip_accents": true, "lowercase": true},
 "files": {"model.pt": {"sha256": "%s", "bytes": 1000}, "vocab.txt": {"sha256": "%s", "bytes": 10}}, "training": {"epochs": 3}}""" % ("0a" * 32, "ff" * 32))
for number, (name, text) in enumerate([
    ("phone", "+86 138-0013-8000转12"), ("tracking", "sf 一二三四五六七八九零"), ("order", "2024-1111-0001"), ("amount", "百分之二十 ￥1,299.50 三点五万元 一百九十九块五毛 两三件"),
    ("time", "十一月十一号晚上八点半以后"), ("attribute", "ｘｌ"), ("numeral", "一亿二千三百四十五万六千七百八十九"), ("spoken", "两千三"), ("code", "幺三八ＡＢ - 1"),
    ("mobile", "008613800138000"), ("sum", "壹佰玖拾玖元整 199块9毛5 十几块"), ("tomorrow", "明天下午"), ("colour", "xl"), ("plain", " 北京 市 "),
    ("day", "2026年11月30日15:30到18:00"), ("week", "下下个星期天"),
]):
    seed("values", name, bytes([number]) + text.encode())
seed("values", "iso", b"\x0e" + "2026-11-28/2026-11-29".encode())
seed("values", "zone", b"\x0e+08:00")
seed("values", "later", b"\x0e" + "过三天后".encode())
for name, source, text in [("code", "[A-Za-z0-9]{8,24}", "202411110001"), ("phone", r"1[3-9]\d{9}|0\d{9,11}|[48]00\d{7}", "13800138000"),
                           ("address", "大道|街道|[省市县镇]|[0-9一二]+(号|栋)", "文三路100号"), ("nested", "((a*)*b|(c?)+){0,3}[^x-z]\\s.", "aab c"), ("empty", "", "x"), ("counts", "x{0}{2000}{2000}{2000}", "x"), ("stacked", "a" + "+" * 200, "a")]:
    seed("pattern", name, part(source.encode()) + text.encode())

# Domains: the files that the target starts from, each behind its number.
for number, name in enumerate(["domain", "intents", "slots", "flows", "rules", "replies", "conversations"]):
    seed("domain", name, bytes([number]) + (here / "Domain" / f"{name}.yaml").read_bytes())
seed("domain", "aliases", b"\1intents:\n  inform: &a {means: x, cues: [&b y, *b]}\n  affirm: *a\n  deny: {<<: *a}\n")
seed("domain", "odd", "\2# \u2028\nslots:\n  ? [a]\n  : !!map {b: |\n    c\n  , d: >-\n   e}\n--- x\n...\n")

response = message(UNDERSTANDING, "kefu.understanding.v1.UnderstandResponse", RECOGNITION)


def heard(intent, confidence=0.9, slots=""):
    return message(UNDERSTANDING, "kefu.understanding.v1.UnderstandResponse", f'intents {{ name: "{intent}" confidence: {confidence} }} {slots} model: "m@1"')


def slot(name, value, start):
    return f'slots {{ name: "{name}" value: "{value}" start: {start} end: {start + len(value)} confidence: 0.9 }}'


for name, kept, answer, text in [
    ("yes", state, heard("affirm"), "对的"), ("no", state, heard("deny"), "不对"), ("order", state, response, "订单号是202411110001"), ("new", bare, heard("order_status"), "查订单"),
    ("rival", rival, heard("inform"), "第二个"), ("time", asked, heard("inform", 0.9, slot("time", "明天下午", 0)), "明天下午吧"), ("past", asked, heard("inform"), "昨天"),
    ("person", offered, heard("affirm"), "好的"), ("handed", handed, heard("chitchat"), "在吗"), ("unheard", offered, b"", "啊啊啊"),
    ("night", bare, heard("human_agent"), "转人工"), ("refund", bare, heard("refund_request", 0.95, slot("order_id", "202411110001", 2) + slot("amount", "1299元", 15)), "退款202411110001，1299元"),
    ("cancel", state, heard("deny", 0.4), "算了，都不办了"), ("insult", bare, heard("inform", 0.5), "废物"),
]:
    seed("turn", name, b"\1" + part(kept) + part(answer) + text.encode())

# Redis
simple = {
    "status": "+OK\r\n+PONG\r\n", "error": "-MOVED 3999 127.0.0.1:6381\r\n-ASK 3999 ::1:6381\r\n-NOSCRIPT No matching script.\r\n", "bulk": "$5\r\nhello\r\n$-1\r\n:12\r\n",
    "slots": "*2\r\n*4\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:30001\r\n$2\r\nid\r\n*3\r\n$0\r\n\r\n:30004\r\n$2\r\ni2\r\n*3\r\n:5461\r\n:16383\r\n*2\r\n$1\r\n?\r\n:30002\r\n",
    "sentinel": "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n*4\r\n$4\r\nname\r\n$8\r\nmymaster\r\n$12\r\nconfig-epoch\r\n$1\r\n7\r\n",
    "role": "+OK\r\n+OK\r\n+OK\r\n+PONG\r\n*3\r\n$6\r\nmaster\r\n:3129659\r\n*0\r\n", "command": "*4\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n1\r\n$9\r\nchat:{u1}\r\n",
    "nested": "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "huge": "*2147483647\r\n", "twice": "*2\r\n" + "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n" * 2, "long": "$2147483647\r\nx", "wrong": "*2\r\n:1\r\n!x\r\n",
    "noauth": "-NOAUTH Authentication required.\r\n-WRONGPASS x\r\n",
}
for number, (name, text) in enumerate(simple.items()):
    seed("redis", name, bytes([number * 3]) + text.encode())
for name, text in {"tcp": "redis://user:p%40ss@[::1]:6380/2", "unix": "unix://:pw@/run/redis.sock?db=3", "sentinel": "redis+sentinel://a,b:26380,c/service/1",
                   "cluster": "rediss+cluster://u:p@127.0.0.1:7000,127.0.0.1:7001", "tls": "rediss://h", "wrong": "redis://h:99999/x?y#z"}.items():
    seed("redis-url", name, text)


def fields(*values):
    return b"".join(part(value if isinstance(value, bytes) else value.encode()) for value in values)


seed("session", "kept", b"\0" + fields("1", "s-1", "4", state, recent, "1796026300000", outbox, "7"))
seed("session", "sealed", b"\1" + fields("2", "s-1", "4", state, recent, "", outbox + outbox, "7"))
seed("session", "none", b"\0" + fields("", "", "", "", "", "", "", ""))
seed("session", "reply", b"\2*8\r\n$1\r\n1\r\n$1\r\ns\r\n$1\r\n4\r\n$%d\r\n%s\r\n$-1\r\n$-1\r\n$-1\r\n$1\r\n7\r\n" % (len(bare), bare))
seed("sealed", "open", b"\0" + b"\0\1\3new" + bytes(range(12)) + b"ciphertext" + bytes(16))
seed("sealed", "seal", b"\1" + state[:100])
seed("sealed", "keys", b"\2# keys\nnew BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n old-1\tCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n")

# The edge
for name, text in {"message": '{"uid": "u1", "query": "我要改地址", "seq": 1}', "escaped": '{"query":"\\u6211\\ud83d\\ude42","uid":"\\u0000","x":[1,{"y":null}]}',
                   "number": '{"uid":"u","query":"q","seq":18446744073709551615}', "wrong": '{"uid":1,"query":"q","seq":-1}', "null": '{"uid":"u","query":"q","seq":null}', "deep": "[" * 600}.items():
    seed("chat", name, text)
seed("headers", "trace", "\x0000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\ncongo=t61rcWkgMzE")
seed("headers", "version", "\x00cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what")
seed("headers", "token", "\x01Bearer 0123456789abcdef-token")
seed("headers", "metadata", b"\2" + fields("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-bin", "\1\2", "tracestate", "a=b"))
seed("callers", "list", "# who\norchestrator.shop.example kefu.understanding.v1.Understanding/*\n* grpc.health.v1.Health/Check\na *\n")
seed("callers", "wrong", "a b/c/d\nx */y\nname\n")
seed("settings", "settings", "listen: 127.0.0.1:50051\nbatch-size: 32\ntrace-ratio: 0.5\ngrace-ms: 5000\ninspector: true\nlog-level: debug\n")
seed("settings", "wrong", "batch-size: [1, 2]\ntrace-ratio: {a: b}\ngrace-ms: .inf\n? x\n: !!binary aGk=\n")
