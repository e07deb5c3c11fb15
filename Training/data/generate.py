#!/usr/bin/env python3
"""Writes train_generated.tsv: the hand-written utterances of train.tsv and train_2.tsv with other slot values.

Only values change, never the words around them, and a value is replaced only by one of the same
shape (a colour by a colour, SF numbers by SF numbers, a full address by a full address), so the
sentence stays true to its intent. Same seed, same input: same output.

    python3 generate.py [--seed 20241111] [--variants 1]
"""
import argparse
import random
import re
import unicodedata
from pathlib import Path

HERE = Path(__file__).resolve().parent
WRITTEN = ("train.tsv", "train_2.tsv", "train_3.tsv", "train_4.tsv", "train_5.tsv")
SPAN = re.compile(r"\[([^\[\]]+)\]\((\w+)\)")

SURNAMES = ("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖"
            "邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文")
DOUBLE_SURNAMES = ["欧阳", "司徒", "上官", "诸葛", "司马", "端木", "皇甫", "尉迟"]
GIVEN = ["伟", "芳", "娜", "敏", "静", "磊", "军", "洋", "勇", "艳", "杰", "涛", "超", "霞", "平", "刚", "桂英", "子轩", "欣怡", "梓涵", "浩宇", "思琪", "雨欣",
         "志强", "建国", "秀兰", "晓东", "海燕", "春梅", "国庆", "佳怡", "俊杰", "明轩", "雅静", "天宇", "诗涵", "文博", "玉珍", "红梅", "家豪", "一鸣", "若曦", "可心",
         "立新", "永刚", "淑华", "彦霖", "梦洁", "泽楷", "嘉宁"]
TITLES = ["先生", "女士", "小姐", "老师", "阿姨", "师傅", "姐", "哥", "总", "经理"]

# Province, city, districts or counties. Every triple is real.
REGIONS = [
    ("北京市", "", "东城区 西城区 朝阳区 海淀区 丰台区 石景山区 大兴区 昌平区 顺义区"),
    ("上海市", "", "黄浦区 静安区 长宁区 普陀区 虹口区 杨浦区 宝山区 嘉定区 松江区"),
    ("天津市", "", "南开区 河西区 河东区 西青区 北辰区 武清区"),
    ("重庆市", "", "渝中区 江北区 九龙坡区 南岸区 北碚区 涪陵区 永川区"),
    ("河北省", "唐山市", "路南区 丰润区 迁安市 玉田县"), ("河北省", "邯郸市", "丛台区 复兴区 魏县"),
    ("山西省", "太原市", "迎泽区 杏花岭区 万柏林区"), ("山西省", "长治市", "潞州区 襄垣县"),
    ("内蒙古自治区", "包头市", "昆都仑区 青山区"), ("内蒙古自治区", "通辽市", "科尔沁区 开鲁县"),
    ("辽宁省", "沈阳市", "沈河区 铁西区 浑南区"), ("辽宁省", "鞍山市", "铁东区 海城市"),
    ("吉林省", "长春市", "南关区 绿园区 榆树市"), ("吉林省", "延边州", "延吉市 敦化市"),
    ("黑龙江省", "哈尔滨市", "道里区 香坊区 五常市"), ("黑龙江省", "齐齐哈尔市", "建华区 讷河市"),
    ("江苏省", "南京市", "玄武区 秦淮区 建邺区 浦口区"), ("江苏省", "苏州市", "姑苏区 吴中区 昆山市 常熟市"), ("江苏省", "盐城市", "亭湖区 东台市"),
    ("浙江省", "杭州市", "上城区 拱墅区 滨江区 萧山区 临平区"), ("浙江省", "金华市", "婺城区 永康市 东阳市"), ("浙江省", "绍兴市", "越城区 诸暨市"),
    ("安徽省", "合肥市", "庐阳区 包河区 肥东县"), ("安徽省", "蚌埠市", "蚌山区 怀远县"),
    ("福建省", "福州市", "仓山区 晋安区 福清市"), ("福建省", "莆田市", "城厢区 仙游县"),
    ("江西省", "南昌市", "东湖区 青山湖区 南昌县"), ("江西省", "九江市", "浔阳区 都昌县"),
    ("山东省", "济南市", "市中区 历城区 章丘区"), ("山东省", "潍坊市", "奎文区 寿光市 诸城市"), ("山东省", "菏泽市", "牡丹区 郓城县"),
    ("河南省", "郑州市", "管城区 惠济区 新郑市"), ("河南省", "南阳市", "卧龙区 邓州市 唐河县"), ("河南省", "商丘市", "梁园区 永城市"),
    ("湖北省", "武汉市", "江岸区 江汉区 汉阳区 江夏区"), ("湖北省", "荆州市", "沙市区 松滋市"),
    ("湖南省", "长沙市", "雨花区 开福区 浏阳市"), ("湖南省", "衡阳市", "蒸湘区 耒阳市"), ("湖南省", "怀化市", "鹤城区 溆浦县"),
    ("广东省", "广州市", "越秀区 海珠区 番禺区 白云区"), ("广东省", "深圳市", "福田区 罗湖区 宝安区 龙岗区"), ("广东省", "汕头市", "龙湖区 潮阳区"),
    ("广东省", "茂名市", "茂南区 高州市 信宜市"),
    ("广西壮族自治区", "南宁市", "兴宁区 西乡塘区 武鸣区"), ("广西壮族自治区", "玉林市", "玉州区 博白县"),
    ("海南省", "海口市", "秀英区 琼山区"), ("海南省", "三亚市", "天涯区 海棠区"),
    ("四川省", "成都市", "青羊区 金牛区 成华区 双流区 郫都区"), ("四川省", "南充市", "顺庆区 阆中市"), ("四川省", "宜宾市", "翠屏区 叙州区"),
    ("贵州省", "贵阳市", "南明区 观山湖区"), ("贵州省", "毕节市", "七星关区 威宁县"),
    ("云南省", "昆明市", "五华区 盘龙区 官渡区"), ("云南省", "玉溪市", "红塔区 澄江市"),
    ("西藏自治区", "拉萨市", "城关区 堆龙德庆区"), ("西藏自治区", "林芝市", "巴宜区"),
    ("陕西省", "西安市", "碑林区 莲湖区 长安区"), ("陕西省", "汉中市", "汉台区 城固县"),
    ("甘肃省", "兰州市", "七里河区 安宁区"), ("甘肃省", "酒泉市", "肃州区 敦煌市"),
    ("青海省", "西宁市", "城中区 大通县"), ("宁夏回族自治区", "银川市", "金凤区 贺兰县"),
    ("新疆维吾尔自治区", "乌鲁木齐市", "沙依巴克区 新市区"), ("新疆维吾尔自治区", "昌吉州", "昌吉市 奇台县"),
]
ROADS = ["人民路", "解放路", "建设大道", "中山路", "和平街", "新华路", "文化路", "长江路", "黄河路", "东风路", "胜利路", "学院路", "迎宾大道", "滨河路", "青年路", "工业大道",
         "朝阳街", "友谊路", "花园路", "光明路", "站前路", "凤凰路", "金水路", "科技路", "振兴街"]
ESTATES = ["阳光花园", "锦绣家园", "碧桂园", "万科城", "金色港湾", "翡翠城", "绿地世纪城", "幸福家园", "恒大绿洲", "御景湾", "梧桐苑", "书香门第", "东方明珠", "紫荆苑", "水岸名都", "惠民小区"]
OFFICES = ["国际大厦", "创业园", "软件园", "时代广场", "金融中心", "科技大厦", "万达广场", "电商产业园"]
SCHOOLS = ["师范学院", "职业技术学院", "第一中学", "实验小学", "医学院", "理工学院"]
TOWNS = ["城关镇", "新城镇", "河口镇", "太平乡", "双河镇", "青山乡", "白马镇", "龙泉镇", "永安乡", "石桥镇"]
VILLAGES = ["张家村", "李庄村", "前进村", "红星村", "东湾村", "大塘村", "上河村", "杨树村", "新民村", "小王庄"]

COLOURS = "黑色 白色 红色 蓝色 灰色 粉色 绿色 紫色 黄色 棕色 米色 咖啡色 卡其色 藏青色 天蓝色 墨绿色 玫红色 银色 金色 浅灰色 深蓝色 杏色 驼色 酒红色 橘色".split()
LETTER_SIZES = "S M L XL XXL 2XL 3XL XS".split()
PRODUCTS = ("羽绒服 连衣裙 牛仔裤 卫衣 衬衫 毛衣 冲锋衣 运动鞋 帆布鞋 凉鞋 双肩包 钱包 行李箱 皮带 围巾 手套 帽子 口红 面霜 面膜 洗面奶 香水 防晒霜 洗发水 沐浴露 牙膏 "
            "奶粉 纸尿裤 婴儿车 奶瓶 儿童座椅 积木 书包 手机 华为手机 小米手机 苹果手机 平板 笔记本电脑 耳机 蓝牙音箱 充电宝 数据线 键盘 鼠标 显示器 路由器 打印机 相机 智能手表 "
            "电视 冰箱 洗衣机 空调 热水器 电饭煲 微波炉 空气炸锅 破壁机 吸尘器 扫地机器人 电风扇 加湿器 电热毯 台灯 床垫 沙发 书桌 衣柜 四件套 枕头 窗帘 地毯 保温杯 炒锅 "
            "苹果 车厘子 橙子 大米 牛奶 坚果 茶叶 月饼 牛排 咖啡 螃蟹 猫粮 狗粮 猫砂 鱼缸 瑜伽垫 跑步机 帐篷 羽毛球拍 钓鱼竿 自行车 行车记录仪 脚垫 机油 小说 词典 钢笔").split()
# Intents in which any product fits the sentence.
ANY_PRODUCT = {"order_status", "order_cancel", "shipping_urge", "logistics_query", "delivery_missing", "refund_progress", "price_protection",
               "inform", "invoice_request"}
# Words that tie a sentence to its own product.
TIED = re.compile(r"定[做制]|宝宝|孩子|婴|救命|断粮|吃|喝|穿|家里|\]\(amount\)")
NUMERALS = "两三四五六七八九"


def digits(rng, n, first="123456789"):
    """n random digits, the first of them from `first`."""
    return rng.choice(first) + "".join(rng.choice("0123456789") for _ in range(n - 1))


def same_shape(rng, text):
    """Every digit replaced, letters and separators kept; a leading year and month stay plausible."""
    if re.match(r"20\d{10}", text):
        return f"20{rng.choice(['23', '24', '25'])}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}" + digits(rng, len(text) - 8, "0123456789")
    out, fresh = [], True
    for c in text:
        out.append(rng.choice("123456789" if fresh else "0123456789") if c.isdecimal() and c.isascii() else c)
        fresh = fresh and not c.isdecimal()
    return "".join(out)


def order_id(rng, old):
    if not re.search(r"[0-9]", old):
        return None
    if re.fullmatch(r"\d{12,}", old) and rng.random() < 0.5:
        kind = rng.randrange(6)
        return [lambda: f"2024{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{digits(rng, 4, '0123456789')}", lambda: digits(rng, 18),
                lambda: digits(rng, 12), lambda: digits(rng, 19), lambda: f"24{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}-{digits(rng, 15)}",
                lambda: rng.choice(["E", "TB", "DD", "P", "W"]) + "2024" + digits(rng, 9)][kind]()
    return same_shape(rng, old)


def tracking_no(rng, old):
    if re.match(r"(?i)SF\d{13}$", old):
        return old[:2] + digits(rng, 13)
    return same_shape(rng, old)


MOBILE_PREFIXES = "130 131 132 133 135 136 137 138 139 150 151 152 153 155 156 157 158 159 166 170 173 175 176 177 178 180 181 182 183 185 186 187 188 189 191 193 198 199".split()
SPOKEN = dict(zip("0123456789", "零一二三四五六七八九"))


def phone(rng, old):
    number = rng.choice(MOBILE_PREFIXES) + digits(rng, 8, "0123456789")
    if re.fullmatch(r"1\d{10}", old):
        form = rng.random()
        if form < 0.75:
            return number
        if form < 0.85:
            return f"{number[:3]} {number[3:7]} {number[7:]}"
        if form < 0.92:
            return f"{number[:3]}-{number[3:7]}-{number[7:]}"
        spoken = "".join(SPOKEN[d] for d in number)
        return spoken if rng.random() < 0.5 else spoken.replace("一", "幺")
    if re.fullmatch(r"[零一二三四五六七八九幺]{11}", old):
        return "".join(SPOKEN[d] for d in number)
    if re.fullmatch(r"0\d{2,3}[- ]?\d{7,8}", old):
        area = rng.choice(["010", "021", "022", "023", "024", "025", "027", "028", "029", "0371", "0451", "0512", "0531", "0571", "0591", "0731", "0755", "0769", "0851", "0991"])
        return area + "-" + digits(rng, 8, "2345678")
    return None


def recipient(rng, old):
    surname = rng.choice(SURNAMES) if rng.random() < 0.95 else rng.choice(DOUBLE_SURNAMES)
    if len(old) == 1 or re.search(r"[A-Za-z]", old):
        return None
    for title in ("先生", "女士", "小姐", "阿姨", "师傅", "老师"):
        if old.endswith(title):
            return surname + rng.choice(TITLES)
    if 2 <= len(old) <= 4 and (old[0] in SURNAMES or old[:2] in DOUBLE_SURNAMES):
        return surname + rng.choice(GIVEN)
    return None


def short(name):
    """A region's everyday name: 浙江省 -> 浙江, 杭州市 -> 杭州."""
    for long_form, plain in (("内蒙古自治区", "内蒙古"), ("广西壮族自治区", "广西"), ("西藏自治区", "西藏"), ("宁夏回族自治区", "宁夏"), ("新疆维吾尔自治区", "新疆")):
        if name == long_form:
            return plain
    return name[:-1] if len(name) > 2 and name[-1] in "省市州" else name


PLACES = sorted({short(p) for p, _, _ in REGIONS} | {short(c) for _, c, _ in REGIONS if c}, key=lambda s: (-len(s), s))


def address(rng, old):
    """A full address for a full address, a region for a region; fragments (a building number, a village) are kept."""
    if old in PLACES:
        return rng.choice(PLACES)
    if len(old) < 9 or not any(old.startswith(p) for p in PLACES):
        return None
    province, city, districts = rng.choice(REGIONS)
    district = rng.choice(districts.split())
    style = rng.random()
    if style < 0.6:
        head = province + city + district
    elif style < 0.8:
        head = short(province) + (short(city) if city else "") + district
    else:
        head = (city or province) + district
    number = rng.randint(1, 999)
    tail = rng.choice([
        lambda: f"{rng.choice(ROADS)}{number}号",
        lambda: f"{rng.choice(ROADS)}{number}号{rng.choice(ESTATES)}{rng.randint(1, 30)}栋{rng.randint(1, 4)}单元{rng.randint(1, 32)}0{rng.randint(1, 4)}",
        lambda: f"{rng.choice(ROADS)}{rng.choice(ESTATES)}{rng.randint(1, 30)}号楼{rng.randint(1, 32)}0{rng.randint(1, 4)}室",
        lambda: f"{rng.choice(ESTATES)}{rng.choice('一二三')}期{rng.randint(1, 20)}-{rng.randint(1, 3)}-{rng.randint(1, 28)}0{rng.randint(1, 4)}",
        lambda: f"{rng.choice(ROADS)}{number}号{rng.choice(OFFICES)}{rng.choice('ABC')}座{rng.randint(2, 30)}楼",
        lambda: f"{rng.choice(ROADS)}{rng.choice(SCHOOLS)}{rng.randint(1, 20)}号宿舍楼{rng.randint(1, 6)}{rng.randint(1, 40):02d}",
        lambda: f"{rng.choice(TOWNS)}{rng.choice(VILLAGES)}{rng.choice('一二三四五六七八九')}组",
        lambda: f"{rng.choice(TOWNS)}{rng.choice(VILLAGES)}{rng.randint(1, 120)}号",
        lambda: f"{rng.choice(ESTATES)}{rng.choice(['东门', '南门', '北门', '西门'])}菜鸟驿站",
    ])()
    return head + tail


def attribute(rng, old):
    if old in COLOURS:
        return rng.choice(COLOURS)
    if old in LETTER_SIZES:
        return rng.choice(LETTER_SIZES)
    if old.endswith("码") and old[:-1] in LETTER_SIZES:
        return rng.choice(LETTER_SIZES) + "码"
    if re.fullmatch(r"(3[5-9]|4[0-5])码?", old):
        return f"{rng.randint(35, 45)}" + ("码" if old.endswith("码") else "")
    if re.fullmatch(r"\d+G", old):
        return rng.choice(["64G", "128G", "256G", "512G"])
    return None


def amount(rng, old):
    money = re.fullmatch(r"(\d+)(\.\d+)?(元|块钱|块)", old)
    if money:
        size = len(money.group(1))
        cents = f".{rng.randint(1, 99):02d}" if money.group(2) else ""
        return digits(rng, size) + cents + money.group(3)
    count = re.fullmatch(r"([两三四五六七八九])([双件个盒箱瓶袋包条])", old)
    if count:
        return rng.choice(NUMERALS) + count.group(2)
    return None


def time(rng, old):
    span = re.fullmatch(r"([两三四五六七八九])(天|个月|周|个星期|小时|个小时)", old)
    if span:
        return rng.choice(NUMERALS) + span.group(2)
    day = re.fullmatch(r"(\d{1,2})月(\d{1,2})([号日])", old)
    if day:
        return f"{rng.randint(1, 12)}月{rng.randint(1, 28)}{day.group(3)}"
    week = re.fullmatch(r"(下周|这周|周|星期|礼拜|下礼拜|下星期)([一二三四五六])(上午|下午|晚上)?", old)
    if week:
        return week.group(1) + rng.choice("一二三四五六") + (week.group(3) or "")
    return None


def product(rng, old):
    return rng.choice(PRODUCTS)


MAKERS = {"order_id": order_id, "tracking_no": tracking_no, "phone": phone, "recipient": recipient, "address": address,
          "attribute": attribute, "amount": amount, "time": time, "product": product}
# With two of these in one sentence their relation carries the meaning (bought three, got two), so they are kept.
SINGLE = {"product", "amount", "time"}


def variant(rng, intent, text):
    """The utterance with new values, or None where nothing could be replaced."""
    slots = [m.group(2) for m in SPAN.finditer(text)]
    used, changed = set(), False

    def replace(match):
        nonlocal changed
        old, slot = match.groups()
        value = None
        tied = slot == "product" and (intent not in ANY_PRODUCT or TIED.search(text))
        related = slot in SINGLE and slots.count(slot) > 1
        if not tied and not related:
            for _ in range(8):
                value = MAKERS[slot](rng, old)
                if value is None or value not in used and value != old:
                    break
                value = None
        if value is not None:
            changed = True
        used.add(value or old)
        return f"[{value or old}]({slot})"

    result = SPAN.sub(replace, text)
    return result if changed else None


def normalised(text):
    """The form in which near-duplicates meet: NFKC, lower case, digits as 0, no punctuation."""
    text = re.sub(r"\d+", "0", unicodedata.normalize("NFKC", SPAN.sub(r"\1", text)).lower())
    return "".join(c for c in text if unicodedata.category(c)[0] in "LN")


def read(path):
    """The (intent, text) pairs of a TSV file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=20241111, help="seed of the random choices (default %(default)s)")
    parser.add_argument("--variants", type=int, default=1, help="at most this many variants of an utterance (default %(default)s)")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    train = [pair for name in WRITTEN for pair in read(HERE / name)]
    seen = {SPAN.sub(r"\1", text) for _, text in train}
    dev = {normalised(text) for _, text in read(HERE / "dev.tsv")}
    rows = []
    for intent, text in train:
        identifying = any(f"]({slot})" in text for slot in ("order_id", "tracking_no", "phone", "recipient", "address"))
        for _ in range(options.variants if identifying else min(2, options.variants)):
            new = variant(rng, intent, text)
            if new is None:
                break
            plain = SPAN.sub(r"\1", new)
            if plain in seen or normalised(new) in dev:
                continue
            seen.add(plain)
            rows.append(f"{intent}\t{new}\n")
    header = f"# Written by generate.py --seed {options.seed} --variants {options.variants} from {' and '.join(WRITTEN)}: other slot values. Do not edit.\n"
    (HERE / "train_generated.tsv").write_text(header + "".join(rows), encoding="utf-8")
    print(f"{len(rows)} variants of {len(train)} utterances")


if __name__ == "__main__":
    main()
