"""Customers on POST /api/chat: the shape of load that web front ends make. Each thinks for 0.5 to 2 s between an answer and the next message."""

import random
import uuid

from locust import FastHttpUser, between, task


def conversation() -> list[str]:
    """Ten messages: an order and an address of this customer alone, and what everybody says."""
    order = f"2024{random.randint(10_000_000, 99_999_999)}"
    address = f"浙江省杭州市西湖区文三路{random.randint(1, 9999)}号"
    return ["你好", "我要改地址", f"订单号是{order}", "退货运费谁出", address, "对的", "快递到哪了", "今天天气怎么样", "谢谢", "再见"]


class Customer(FastHttpUser):
    """One customer after another."""

    wait_time = between(0.5, 2)

    def on_start(self) -> None:
        self.left: list[str] = []

    @task
    def say(self) -> None:
        if not self.left:
            self.uid, self.seq, self.left = uuid.uuid4().hex, 0, conversation()
        self.seq += 1
        message = {"uid": self.uid, "query": self.left.pop(0), "seq": self.seq}
        with self.client.post("/api/chat", json=message, catch_response=True) as response:
            if response.status_code == 200 and response.json().get("degraded"):
                response.failure("degraded")
