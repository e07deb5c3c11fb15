"""Cases that hold intent-server's forward pass to this one: texts, their token ids, and the logits of a bundle."""

import json
from pathlib import Path

import torch

from .bundle import Bundle
from .predict import batch_of

TEXTS = (
    "我要改地址", "苹果手机", "退", "好", "在吗", "?", "。", "123", "怎么还不发货", "快递到哪了", "显示签收了可我没收到",
    "订单号是202411110001", "单号SF1234567890", "我的手机号13800138000", "收件人改成王女士", "寄到浙江省杭州市西湖区文三路100号",
    "我要退款", "不喜欢想退货", "鞋子小了想换大一码", "退款怎么还没到账", "退货运费谁出", "收到的杯子碎了", "发错颜色了", "这个保修多久",
    "这款手机支持无线充电吗", "白色的还有货吗", "推荐一款适合老人的手机", "优惠券怎么用", "双十一满减怎么算", "刚买就降价能退差价吗",
    "能用花呗分期吗", "帮我开个发票", "密码忘了登不上", "积分怎么兑换", "转人工", "我要投诉你们客服态度太差", "对的", "不用了先不改",
    "谢谢你😊😊", "再见", "今天天气怎么样", "ＩＰｈｏｎｅ１５Ｐｒｏ　２５６Ｇ多少钱？", "Café naïve Ünïcode", "asdfghjkl qwerty uiop",
    "我買的貨還沒收到", "囫囵吞枣😤😤😤!!!",
    "亲，我上周三在你们家买的那件黑色羽绒服，XL码的，两件一共398元，到现在物流三天没更新了，能不能帮我催一下，实在不行我就退款了",
    "麻烦把收货地址改成广东省深圳市南山区科技园南区深南大道10000号腾讯大厦18楼，收件人李小龙，电话0755-86013388，明天下午三点以后送",
)  # fmt: skip


def write_parity(bundle: Bundle, path: Path) -> int:
    """Writes the cases, each text run as a batch of its own; gives the number of texts."""
    cases = []
    with torch.inference_mode():
        for text in TEXTS:
            encoding = bundle.tokenizer.encode(text)
            intents, slots = bundle.model(*batch_of([encoding], bundle.tokenizer.pad_id))
            cases.append({"text": text, "ids": encoding.ids, "intent": _rounded(intents[0]), "slots": [_rounded(s) for s in slots[0]]})
    content = {
        "format": 1,
        "bundle": f"{bundle.manifest['name']}/{bundle.manifest['version']}",
        "model_sha256": bundle.manifest["files"]["model.pt"]["sha256"],
        "tolerance": 1e-4,
    }
    head = json.dumps(content, ensure_ascii=False)[:-1]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")
    return len(cases)


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(float(v), 6) for v in values]
