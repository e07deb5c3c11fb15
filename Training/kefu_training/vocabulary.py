"""A WordPiece vocabulary for Chinese shopping text, for models that bring none of their own.

Chinese goes character by character: every character of GB 2312 and of the common half of Big5 for which the embedding has a row.
Digits go one by one, so that numbers of any length are read alike. Latin words are those that shoppers in China mix into their
sentences; other words fall into letters. Emoji stand as a word's start and as its continuation, for they come in runs.
"""

import string
from collections.abc import Callable

from .text import SPECIAL_TOKENS

PUNCTUATION = "。、…—–·•“”‘’「」『』《》〈〉【】〔〕￥¥€£$℃°‰×÷±≈≤≥→←↑↓★☆●○■□◆▲▼♥❤✓✔✨№①②③④⑤⑥⑦⑧⑨⑩のんはい々〇"

EMOJI = (
    "😀😁😂😃😄😅😆😇😉😊😋😌😍😎😏😐😑😒😓😔😕😖😗😘😙😚😛😜😝😞😟😠😡😢😣😤😥😦😨😩😪😫😭😮😯😰😱😲😳😴😵😶😷😹😻"
    "🙁🙂🙃🙄🙅🙆🙇🙈🙊🙋🙌🙏🤑🤓🤔🤖🤗🤘🤝🤞🤟🤡🤣🤤🤦🤨🤩🤪🤫🤬🤭🤮🤲🤷🥀🥂🥇🥰🥺"
    "☎☕☝☹☺♀♂⚠⚡⛔✅✈✉✋✌✍❄❌❓❗❣➕⬆⭐⭕🆘🆗🌈🌙🌚🌝🌞🌟🌷🌸🌹🌺🍀🍉🍎🍑🎀🎁🎂🎉🎊🏃🏠🏡🏢🏫🐛🐱🐶🐷🐻👀👆👇👈👉👊👋👌👍👎👏👔👕👖👗👙👚👜👟👠"
    "👧👨👩👪👶👻💀💄💊💋💍💎💐💓💔💕💖💗💘💙💚💛💜💝💞💡💢💣💤💥💦💨💩💪💬💭💯💰💲💳💵💸💻📅📌📍📎📖📚📝📞📢📣📦📧📩📱📷🔊🔋🔍🔔🔗🔥🔧🔴🕐🖐🖤🗑🙀🚀🚗🚚🚛🚫🛌🛒🤙🦄🦋🧡"
)

LATIN_WORDS = """
a ab account ad add address adidas agv ai air airpods alipay all am amazon amd an and android any app apple are area as asap asics asus
at baby back bag balance bb bbq be beats best big bilibili bjd black blue bluetooth book bot box boy boss bra brand bro bug burberry but
buy by bye cad call can canon card care case cc cd change chanel check chip class clean clinique cm cn cny co coach code color com
confirm contact converse cool cos cosplay cotton coupon cpu crocs ctrl cup customer date day dd ddr de deal dell delete delivery detail
dhl did dior diy dj dl do does done dota down dpi dr dress dv dvd dw dyson ear echo edge email ems end english epson error esc euro ex
express face fedex fan fast fb fila file film find first fit flash for four free french fresh from full fuji gap game gb get gg ghd gift
girl give go gold good google gopro got gps gpu great green group gshock gta gtx gucci guess guy h5 ha haha hair hand happy has have hd
hdmi he hello help her hermes hi hifi high him his hk hm home honor hot hour how hp hr html http https huawei i ibm id idea if ikea in
inch ink inner ins instagram intel invoice ios ip ipad iphone ipod is isbn issue it item its jbl jd jeans jk job jojo just k kenzo key
keyboard kg kid kindle km kpop kfc kt la lady lamer lamy lancome laptop large last later lazada lcd le led lee lego lens lenovo less
level levi lg life light like line link list lite live ll local log logo lol long look loreal love low lp lv lux m mac macbook made
magic mail make man mask mate max may mb mbps me medium memory men message meta mg mi micro microsoft min mini mix ml mlb mm mobile
model money monitor month moto mp mp3 mp4 mr ms msi muji must my name nas nba ne need network never new next nfc nice nike nintendo no
not note nova now ns number nvidia of off offer office ok okay old oled olay on one online only open oppo or order os otg our out over
own package page paid pad pants paper parcel part party password pay paypal pc pcs pdd pdf pen phone photo pink pixel plan play please
plus pls pm pods poloshirt polo ppt prada price pro problem product ps ps4 ps5 puma purchase put pvc qq qr quality question quick ram
ray rayban razer razor read real red redmi refund reno replace reply return review rgb right rio rmb rog room rtx run sale samsung say
seller send service set sf sfexpress she shein ship shipped shipping shirt shoe shoes shop shopee short show sign sim sin size sk
skechers ski sku skin slim slow small smart sms so soft sold some soon sony sorry soso sos spa spf sport spring ssd star start status
steam still stock stop store style sun super support sure surface swatch switch t tag taobao tb tbh tea team test than thank thanks
thankyou that the them then there they thinkpad this three tiffany time tiktok to today token tom tommy tomorrow tony too top track
tracking trial tt tv two type typec ugg uhd ui under uniqlo unit up update ups upper url us usa usb use used user uu uv vans vape vein
ver very via video view vip visa vivo vlog vpn vr vs w wait want was watch water way we web wechat week weibo weixin well were what when
where which white who why wide wifi will win windows winter with woman women word work world wow wps wrong ww www x xbox xiaomi xl xm xs
xxl xxxl xxs y yeah year yeezy yellow yes yesterday yet ysl you your youtube yuan zara zenbook zero zip zoom ok3 kn95 type fps hz khz
ghz mah tpu tws ssr sr ur nn mmp gg orz emo emmm em emm hhh hh xswl yyds nb dbq zz plz thx thks btw fyi asmr ktv atm pos poc pvp oem odm
sop kpi hr ceo bug ootd shen zhen bei jing shang hai guang zhou hang chengdu beijing shanghai shenzhen guangzhou hangzhou road street
building floor no1 rd st avenue district city province china yto zto sto yunda jt jitu bestex cainiao debang ane uce zjs ttk rrs
""".split()

LATIN_ENDINGS = """
ing ed er es ly ion tion s t n d r y m al ic us is um le el ne se te ve ck ss ll th st nt nd ng er or ar en in on an at it et ut up op
book phone pad pod pods mac watch bank net pal pro max plus mini se ultra lite gb tb mb kg mg ml cm mm km mah hz fi hub box bag top day
time man men line name word ware tube com cn org
""".split()


def _table(codec: str, rows: range, columns: list[int]) -> list[str]:
    characters = []
    for row in rows:
        for column in columns:
            try:
                characters.append(bytes([row, column]).decode(codec))
            except UnicodeDecodeError:
                continue
    return characters


def chinese_characters() -> list[str]:
    """The 6,763 characters of GB 2312, then those of the first level of Big5 (common traditional ones) that it lacks."""
    simplified = _table("gb2312", range(0xB0, 0xF8), list(range(0xA1, 0xFF)))
    traditional = _table("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *range(0xA1, 0xFF)])
    return list(dict.fromkeys(c for c in simplified + traditional if "\u4e00" <= c <= "\u9fff"))


def shopping_vocabulary(known: Callable[[str], bool]) -> list[str]:
    """The tokens, special ones first; ``known`` says for which the embedding has something to start from."""
    letters = list(string.ascii_lowercase + string.digits)
    words = [w for w in LATIN_WORDS if not any(c.isdigit() for c in w)]
    emoji = [e for e in dict.fromkeys(EMOJI) if known(e)]
    tokens = [
        *SPECIAL_TOKENS,
        *string.punctuation,
        *(p for p in PUNCTUATION if known(p)),
        *letters,
        *("##" + c for c in letters),
        *words,
        *("##" + e for e in LATIN_ENDINGS),
        *emoji,
        *("##" + e for e in emoji),
        *(c for c in chinese_characters() if known(c)),
    ]
    return list(dict.fromkeys(tokens))


def frequent_vocabulary(tokens: list[str], counts: dict[str, int], size: int) -> list[str]:
    """A smaller vocabulary: of ``tokens`` those that occur most often, in their order.

    Special tokens, punctuation, letters and digits stay whatever their count, so that every ASCII text can be read; of tokens that occur
    equally often, the earlier ones of the first level of GB 2312, the common characters, come first.
    """
    letters = string.ascii_lowercase + string.digits
    kept = {*SPECIAL_TOKENS, *string.punctuation, *letters, *("##" + c for c in letters)}
    common = {c for c in _table("gb2312", range(0xB0, 0xD8), list(range(0xA1, 0xFF)))}
    order = sorted(tokens, key=lambda t: (t not in kept, -counts.get(t, 0), t not in common))
    chosen = set(order[:size])
    return [t for t in tokens if t in chosen]
