import Testing
import Understanding

@Suite struct SlotNormalizerTests {
    @Test(arguments: [
        // phone
        ("13800138000", "13800138000"), ("１３８００１３８０００", "13800138000"), ("138 0013 8000", "13800138000"), ("138-0013-8000", "13800138000"),
        ("一三八零零一三八零零零", "13800138000"), ("幺三八〇〇幺三八〇〇〇", "13800138000"), ("+86 13800138000", "13800138000"),
        ("+86-138-0013-8000", "13800138000"), ("008613800138000", "13800138000"), ("0571-88888888", "057188888888"),
        ("(0571)8888 8888", "057188888888"),
        ("0571-88888888转801", "057188888888转801"), ("+1 650 555 0100", "+16505550100"), ("400-800-8888", "4008008888"),
    ])
    func phone(_ written: String, _ standard: String) { #expect(SlotNormalizer.normalize(written, slot: "phone") == standard) }

    @Test(arguments: [
        ("tracking_no", "sf1234567890", "SF1234567890"), ("tracking_no", "ＳＦ１２３４ ５６７８", "SF12345678"),
        ("tracking_no", "YT-2024-0001", "YT20240001"),
        ("tracking_no", "七七三一二三", "773123"), ("order_id", "202411110001", "202411110001"), ("order_id", "２０２４１１１１０００１", "202411110001"),
        ("order_id", "2024 1111 0001", "202411110001"), ("order_id", "二零二四一一一一零零零一", "202411110001"), ("order_id", "#ab-123", "AB-123"),
        ("order_id", "113-7654321-1234567", "113-7654321-1234567"),
    ])
    func numbers(_ slot: String, _ written: String, _ standard: String) {
        #expect(SlotNormalizer.normalize(written, slot: slot) == standard)
    }

    @Test(arguments: [
        ("两百块", "200元"), ("199元", "199元"), ("199块", "199元"), ("１９９块钱", "199元"), ("￥199.00", "199元"), ("¥199", "199元"),
        ("￥1,299.50元", "1299.5元"),
        ("199rmb", "199元"), ("RMB199", "199元"), ("199人民币", "199元"), ("一百九十九块九", "199.9元"), ("199块9毛", "199.9元"), ("三块五毛五", "3.55元"),
        ("三块五毛五分", "3.55元"), ("三毛", "0.3元"), ("五角", "0.5元"), ("两块五", "2.5元"), ("两块两毛钱", "2.2元"), ("二百五", "250"), ("二百五十元", "250元"),
        ("一万二", "12000"), ("一万两千元", "12000元"), ("1.2万元", "12000元"), ("3千块", "3000元"), ("三千零五元", "3005元"), ("一百零五", "105"), ("十五块", "15元"),
        ("二十元", "20元"), ("十块钱", "10元"), ("一亿", "100000000"), ("1万2000元", "12000元"), ("两元钱", "2元"), ("贰佰元", "200元"),
        ("两件", "2件"), ("2 件", "2件"), ("三期", "3期"), ("500积分", "500积分"), ("五百积分", "500积分"), ("一个", "1个"), ("俩", "2个"), ("十二双", "12双"),
        ("一斤半", "1.5斤"), ("三点五斤", "3.5斤"), ("3.50斤", "3.5斤"), ("百分之二十", "20%"), ("20％", "20%"), ("八折", "8折"), ("一九九元", "199元"),
        ("两百元以内", "200元以内"), ("不到三百块", "不到300元"), ("一百多块", "100多元"), ("二十来块钱", "20来元"), ("满300减50", "满300减50"),
        // Only roughly a number.
        ("两三件", "两三件"), ("十几块", "十几元"), ("几十块钱", "几十元"), ("两三百块", "两三百元"), ("百元", "百元"), ("三五个", "三五个"), ("全部", "全部"),
        ("1234567890123456789元", "1234567890123456789元"), ("1,23元", "1,23元"), ("1.2.3", "1.2.3"),
    ])
    func amount(_ written: String, _ standard: String) { #expect(SlotNormalizer.normalize(written, slot: "amount") == standard) }

    @Test(arguments: [
        ("下礼拜三", "下礼拜三"), ("明天下午", "明天下午"), ("11月11号", "11月11号"), ("十一月十一号", "11月11号"), ("下午三点以后", "下午3点以后"), ("三天", "3天"),
        ("七天内", "7天内"), ("两点半", "2点半"), ("三点一刻", "3点1刻"), ("十点十五分", "10点15分"), ("二零二四年十一月", "2024年11月"), ("两个小时", "2个小时"),
        ("一个半月", "1个半月"), ("三个工作日", "3个工作日"), ("周三下午两点", "周三下午2点"), ("下周二十点", "下周二10点"), ("星期五", "星期五"), ("双十一", "双十一"),
        ("这两天", "这两天"), ("两三天", "两三天"), ("第二天", "第二天"), ("半天", "半天"), ("１２：３０", "12:30"), ("周 末", "周末"), ("08月", "8月"),
        ("2024.11.11", "2024.11.11"),
    ])
    func time(_ written: String, _ standard: String) { #expect(SlotNormalizer.normalize(written, slot: "time") == standard) }

    @Test(arguments: [
        ("attribute", "xl", "XL"), ("attribute", "ｘｌ", "XL"), ("attribute", "256 g", "256G"), ("attribute", "大一码", "大一码"),
        ("attribute", "XL码", "XL码"),
        ("attribute", "黑 色", "黑色"), ("product", "ｉＰｈｏｎｅ", "iPhone"), ("product", "羽绒\u{200B}服", "羽绒服"), ("recipient", "张　三", "张三"),
        ("address", "浙江省 杭州市　西湖区文三路１００号", "浙江省杭州市西湖区文三路100号"), ("unknown_slot", "ａ　ｂ", "ab"), ("product", "", ""),
        ("amount", "", ""), ("time", "", ""), ("phone", "", ""), ("phone", "转", "转"), ("phone", "打 不通", "打不通"), ("order_id", "没 有", "没有"),
        ("tracking_no", "单号123", "123"),
    ])
    func others(_ slot: String, _ written: String, _ standard: String) {
        #expect(SlotNormalizer.normalize(written, slot: slot) == standard)
    }

    /// No text crashes it, and what is standard already stays so.
    @Test func anyMixIsReadAndStandardFormIsStable() {
        let alphabet = Array("0123456789.,零一二三九两十百千万亿点半几多块元毛角分钱俩¥￥%折个件周期拜第这年月日号小时人民币百分之RMB转+-é👍🏻　\u{200D}")
        var state: UInt64 = 7
        for _ in 0..<10_000 {
            var text = ""
            for _ in 0..<(state >> 33) % 9 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                text.append(alphabet[Int(state >> 33) % alphabet.count])
            }
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            for slot in ["phone", "order_id", "tracking_no", "amount", "time", "attribute", "product"] {
                let once = SlotNormalizer.normalize(text, slot: slot)
                #expect(!once.unicodeScalars.contains { $0.properties.isWhitespace })
                if slot != "amount" && slot != "time" && slot != "phone" {
                    #expect(SlotNormalizer.normalize(once, slot: slot) == once, "\(slot) \(text)")
                }
            }
        }
    }
}
