"""LitServe over the same bundle: python litserve_server.py PORT; POST /predict {"text": "…"}."""

import sys

import litserve as ls
from recogniser import BATCH, BUNDLE, THREADS, WAIT_MS, Recogniser


class Understand(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.recogniser = Recogniser(BUNDLE, THREADS)

    def decode_request(self, request: dict) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return list(inputs)

    def predict(self, inputs: list[str]) -> list[dict]:
        return self.recogniser.recognise(inputs)

    def unbatch(self, output: list[dict]) -> list[dict]:
        return output

    def encode_response(self, output: dict) -> dict:
        return output


if __name__ == "__main__":
    api = Understand(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1000)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
