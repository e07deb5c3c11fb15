// Turns over gRPC at a constant rate of arrival, whatever the server does: k6 run -e TARGET=127.0.0.1:50052 -e RATE=200 -e SECONDS=20 chat.js
import grpc from "k6/net/grpc";
import { check } from "k6";

const client = new grpc.Client();
client.load(["../../Protos"], "kefu/dialogue/v1/dialogue.proto");

const rate = Number(__ENV.RATE || 200);
const texts = ["你好", "我要改地址", "退货运费谁出", "快递到哪了", "今天天气怎么样", "谢谢", "再见"];

export const options = {
    scenarios: {
        turns: {
            executor: "constant-arrival-rate",
            rate,
            timeUnit: "1s",
            duration: `${__ENV.SECONDS || 20}s`,
            preAllocatedVUs: Math.max(10, rate),
        },
    },
    summaryTrendStats: ["avg", "med", "p(99)", "max"],
};

let connected = false;
let seq = 0;

export default function () {
    if (!connected) {
        client.connect(__ENV.TARGET, { plaintext: true });
        connected = true;
    }
    seq += 1;
    const message = { uid: `k6-${__ENV.RUN || "0"}-${__VU}`, query: texts[seq % texts.length], seq };
    const response = client.invoke("kefu.dialogue.v1.Dialogue/Reply", message, { timeout: "2s" });
    check(response, { answered: (r) => r.status === grpc.StatusOK && !r.message.degraded });
}
