"""mosec over the same bundle: python mosec_server.py --port PORT; POST /inference {"text": "…"}."""

from mosec import Server, Worker
from recogniser import BATCH, BUNDLE, THREADS, WAIT_MS, Recogniser


class Understand(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.recogniser = Recogniser(BUNDLE, THREADS)

    def forward(self, data: list[dict]) -> list[dict]:
        return self.recogniser.recognise([item["text"] for item in data])


if __name__ == "__main__":
    server = Server()
    server.append_worker(Understand, num=1, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
