"""An example of the shop's own backend: kefu.actions.v1.Actions over SQLite.

    python shop.py --listen 127.0.0.1:0 --database shop.db

Orders can be looked up and cancelled, addresses really change, refunds are really refused where they were given before. A call and what it answered are
kept in the same transaction under the call's idempotency key, so that a call sent again changes nothing and gets the same answer, after a restart too.
Needs grpcio, protobuf and protoc, which reads the .proto file when it starts: there is no generated code.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import signal
import sqlite3
import subprocess
import threading
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = pathlib.Path(__file__).resolve().parent
PROTOS = HERE.parents[1] / "Protos"
SERVICE = "kefu.actions.v1.Actions"

ORDERS = [
    # number, status, recipient, phone, address, amount in fen, refunded in fen
    ("202411110001", "待发货", "张伟", "13800138000", "上海市浦东新区世纪大道8号", 29900, 0),
    ("202411110002", "运输中，预计明天送达", "李娜", "13900139000", "广州市天河区体育西路57号", 15800, 0),
    ("202411110003", "已签收", "王芳", "13700137000", "成都市锦江区春熙路1号", 8900, 0),
    ("202411110004", "已退款", "赵强", "13600136000", "武汉市洪山区珞喻路152号", 45900, 45900),
    ("202411110005", "待发货", "陈静", "13500135000", "北京市海淀区中关村大街1号", 129900, 0),
]

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number TEXT PRIMARY KEY, status TEXT NOT NULL, recipient TEXT NOT NULL, phone TEXT NOT NULL, address TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0), refunded INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND amount));
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, at_ms INTEGER NOT NULL);
"""


class BadRequest(Exception):
    """The call itself is at fault; calling again does not help."""


def message_classes():
    """The classes of PerformRequest and PerformResponse."""
    described = subprocess.run(
        ["protoc", "-I", PROTOS, "--descriptor_set_out=/dev/stdout", PROTOS / "kefu/actions/v1/actions.proto"], check=True, capture_output=True)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.stdout).file:
        pool.Add(file)
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kefu.actions.v1.{name}"))
        for name in ("PerformRequest", "PerformResponse"))


class Shop:
    """The orders, and what was done to them."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self.database.row_factory = sqlite3.Row
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.executescript(SCHEMA)
        self.database.executemany("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", ORDERS)
        self.actions = {
            "order.get": self.get, "order.cancel": self.cancel, "order.change_address": self.change_address, "order.refund": self.refund}

    def perform(self, name, key, arguments, now_ms):
        """What was answered, as (refusal, values): done now, or found under the key."""
        action = self.actions.get(name)
        if action is None:
            raise BadRequest(f"there is no action {name!r}; one of {', '.join(sorted(self.actions))} is expected")
        if not key:
            raise BadRequest("idempotency_key is empty; uid:session:seq is expected")
        request = json.dumps([name, arguments], ensure_ascii=False, sort_keys=True)
        with self.lock:
            self.database.execute("BEGIN IMMEDIATE")
            try:
                known = self.database.execute("SELECT request, response FROM calls WHERE key = ?", (key,)).fetchone()
                if known:
                    if known["request"] != request:
                        raise BadRequest(f"the idempotency key {key!r} was used for another call")
                    answer = json.loads(known["response"])
                else:
                    answer = self.refusal_of_order(arguments) or action(arguments)
                    self.database.execute("INSERT INTO calls VALUES (?, ?, ?, ?)", (key, request, json.dumps(answer), now_ms))
                self.database.execute("COMMIT")
            except BaseException:
                self.database.execute("ROLLBACK")
                raise
        return answer

    def order(self, arguments):
        return self.database.execute("SELECT * FROM orders WHERE number = ?", (arguments.get("order_id", ""),)).fetchone()

    def refusal_of_order(self, arguments):
        if "order_id" not in arguments:
            raise BadRequest("the argument order_id is missing")
        return None if self.order(arguments) else ["not_found", {}]

    def get(self, arguments):
        order = self.order(arguments)
        return ["", {"status": order["status"], "address": order["address"]}]

    def cancel(self, arguments):
        order = self.order(arguments)
        if order["status"] not in ("待发货", "已取消"):
            return ["already_shipped", {"status": order["status"]}]
        self.database.execute(
            "UPDATE orders SET status = '已取消', refunded = amount WHERE number = ?", (order["number"],))
        return ["", {}]

    def change_address(self, arguments):
        order = self.order(arguments)
        if order["status"] != "待发货":
            return ["already_shipped", {"status": order["status"]}]
        if not arguments.get("address"):
            raise BadRequest("the argument address is missing")
        self.database.execute(
            "UPDATE orders SET address = ?, recipient = ?, phone = ? WHERE number = ?",
            (arguments["address"], arguments.get("recipient", order["recipient"]), arguments.get("phone", order["phone"]), order["number"]))
        return ["", {}]

    def refund(self, arguments):
        order = self.order(arguments)
        left = order["amount"] - order["refunded"]
        if left == 0:
            return ["already_refunded", {}]
        wanted = left
        if arguments.get("amount"):
            number = re.fullmatch(r"(\d{1,9}(?:\.\d{1,2})?)元?", arguments["amount"])
            if not number:
                return ["refused", {"reason": "金额不清楚"}]
            wanted = round(float(number[1]) * 100)
        if not 0 < wanted <= left:
            return ["refused", {"reason": f"最多可以退 {left / 100:.2f} 元"}]
        self.database.execute(
            "UPDATE orders SET refunded = refunded + ?, status = CASE WHEN refunded + ? = amount THEN '已退款' ELSE status END WHERE number = ?",
            (wanted, wanted, order["number"]))
        return ["", {"refund_amount": f"{wanted / 100:.2f} 元"}]


def serve(listen, path, delay):
    request_class, response_class = message_classes()
    shop = Shop(path)

    def perform(request, context):
        arguments = {argument.name: argument.normalized or argument.value for argument in request.arguments}
        try:
            refusal, values = shop.perform(request.name, request.idempotency_key, arguments, request.now_ms)
        except BadRequest as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except sqlite3.OperationalError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the database: {error}")
        response = response_class(refusal=refusal)
        for name, value in values.items():
            response.values.add(name=name, value=value)
        time.sleep(delay)
        return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    handler = grpc.unary_unary_rpc_method_handler(
        perform, request_deserializer=request_class.FromString, response_serializer=response_class.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Perform": handler}),))
    port = server.add_insecure_port(listen)
    server.start()
    print(f"listening grpc={listen.rsplit(':', 1)[0]}:{port}", flush=True)
    return server


def main():
    parser = argparse.ArgumentParser(description="An example of a shop's backend for Kefu.")
    parser.add_argument("--listen", default="127.0.0.1:50053", help="HOST:PORT; port 0 for a free one")
    parser.add_argument("--database", default="shop.db", help="a SQLite file; made where it is not there")
    parser.add_argument("--delay-ms", type=int, default=0, help="answer so late, to see what a slow backend does")
    arguments = parser.parse_args()
    server = serve(arguments.listen, arguments.database, arguments.delay_ms / 1000)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(2).wait()


if __name__ == "__main__":
    main()
