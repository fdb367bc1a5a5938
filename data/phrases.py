"""Words and phrases in English and Chinese, grouped by what may be said with them."""

from typing import NamedTuple


class Person(NamedTuple):
    """A subject: English, its forms of be and have, object and possessive forms, whether verbs take -s, Chinese."""

    en: str
    be: str
    have: str
    me: str
    my: str
    s: bool
    zh: str


def _they(en: str, zh: str, he: bool) -> Person:
    return Person(en, "is", "has", en, "his" if he else "her", True, zh)


I, YOU, HE, SHE, WE, THEY = PRONOUNS = (  # noqa: E741
    Person("I", "am", "have", "me", "my", False, "我"),
    Person("you", "are", "have", "you", "your", False, "你"),
    Person("he", "is", "has", "him", "his", True, "他"),
    Person("she", "is", "has", "her", "her", True, "她"),
    Person("we", "are", "have", "us", "our", False, "我们"),
    Person("they", "are", "have", "them", "their", False, "他们"),
)
FAMILY = (
    _they("my mother", "我妈妈", False), _they("my father", "我爸爸", True), _they("my sister", "我姐姐", False),
    _they("my brother", "我哥哥", True), _they("my grandmother", "我奶奶", False), _they("my uncle", "我叔叔", True),
)  # fmt: skip
OTHERS = (
    _they("the teacher", "老师", False), _they("my friend", "我朋友", True), _they("the doctor", "医生", True),
    _they("my neighbor", "我的邻居", False), _they("my classmate", "我同学", True),
)  # fmt: skip
PEOPLE = PRONOUNS + FAMILY + OTHERS
SINGULAR = (HE, SHE, *FAMILY, *OTHERS)


class Verb(NamedTuple):
    """A verb phrase: base, with -s, past, participle, with -ing, Chinese."""

    base: str
    s: str
    past: str
    done: str
    ing: str
    zh: str


def _verbs(table: str) -> tuple[Verb, ...]:
    """Read lines of ``base/s/past/done/ing rest = Chinese``, the rest belonging to every form."""
    out = []
    for line in filter(None, map(str.strip, table.splitlines())):
        english, zh = line.split(" = ")
        forms, _, rest = english.partition(" ")
        out.append(Verb(*(f"{form} {rest}".strip() for form in forms.split("/")), zh))  # type: ignore[call-arg]
    return tuple(out)


AT_HOME = _verbs("""
    drink/drinks/drank/drunk/drinking tea = 喝茶
    drink/drinks/drank/drunk/drinking coffee = 喝咖啡
    eat/eats/ate/eaten/eating breakfast = 吃早饭
    eat/eats/ate/eaten/eating dinner = 吃晚饭
    read/reads/read/read/reading a book = 看书
    read/reads/read/read/reading the newspaper = 看报纸
    watch/watches/watched/watched/watching television = 看电视
    listen/listens/listened/listened/listening to music = 听音乐
    write/writes/wrote/written/writing a letter = 写信
    cook/cooks/cooked/cooked/cooking dinner = 做晚饭
    clean/cleans/cleaned/cleaned/cleaning the room = 打扫房间
    wash/washes/washed/washed/washing the dishes = 洗碗
    wash/washes/washed/washed/washing clothes = 洗衣服
    play/plays/played/played/playing the piano = 弹钢琴
    study/studies/studied/studied/studying English = 学英语
    study/studies/studied/studied/studying Chinese = 学中文
    work/works/worked/worked/working = 工作
    sing/sings/sang/sung/singing = 唱歌
""")
OUTSIDE = _verbs("""
    play/plays/played/played/playing football = 踢足球
    play/plays/played/played/playing basketball = 打篮球
    run/runs/ran/run/running = 跑步
    swim/swims/swam/swum/swimming = 游泳
    take/takes/took/taken/taking photos = 拍照
    buy/buys/bought/bought/buying vegetables = 买菜
    ride/rides/rode/ridden/riding a bicycle = 骑自行车
    dance/dances/danced/danced/dancing = 跳舞
    walk/walks/walked/walked/walking the dog = 遛狗
""")
ACTIVITIES = AT_HOME + OUTSIDE
SKILLS = _verbs("""
    swim/swims/swam/swum/swimming = 游泳
    cook/cooks/cooked/cooked/cooking = 做饭
    drive/drives/drove/driven/driving = 开车
    sing/sings/sang/sung/singing = 唱歌
    dance/dances/danced/danced/dancing = 跳舞
    draw/draws/drew/drawn/drawing = 画画
    ski/skis/skied/skied/skiing = 滑雪
    speak/speaks/spoke/spoken/speaking English = 说英语
    speak/speaks/spoke/spoken/speaking Chinese = 说中文
    play/plays/played/played/playing the guitar = 弹吉他
    ride/rides/rode/ridden/riding a horse = 骑马
    play/plays/played/played/playing chess = 下棋
""")
GOALS = (  # something done once, with a result
    ("finished", "finish", "the homework", "作业", "做完"), ("finished", "finish", "the book", "这本书", "看完"),
    ("cleaned", "clean", "the kitchen", "厨房", "打扫干净"), ("found", "find", "the key", "钥匙", "找到"),
    ("sold", "sell", "the car", "车", "卖掉"), ("fixed", "fix", "the computer", "电脑", "修好"),
    ("washed", "wash", "the clothes", "衣服", "洗完"), ("closed", "close", "the door", "门", "关上"),
    ("opened", "open", "the window", "窗户", "打开"), ("broke", "break", "the cup", "杯子", "打破"),
)  # fmt: skip
PLACES = (
    ("the park", "公园"), ("the library", "图书馆"), ("the supermarket", "超市"), ("the hospital", "医院"),
    ("the bank", "银行"), ("the post office", "邮局"), ("the restaurant", "饭馆"), ("the airport", "机场"),
    ("the train station", "火车站"), ("the museum", "博物馆"), ("the bookstore", "书店"), ("the beach", "海边"),
    ("the office", "办公室"), ("the cinema", "电影院"),
)  # fmt: skip
CITIES = (
    ("Beijing", "北京"), ("Shanghai", "上海"), ("London", "伦敦"), ("Paris", "巴黎"), ("New York", "纽约"),
    ("Tokyo", "东京"), ("Berlin", "柏林"), ("Hong Kong", "香港"),
)  # fmt: skip
COUNTRIES = (
    ("China", "中国"), ("Japan", "日本"), ("France", "法国"), ("Germany", "德国"), ("Canada", "加拿大"),
    ("England", "英国"), ("Italy", "意大利"), ("America", "美国"),
)  # fmt: skip
JOBS = (
    ("a teacher", "老师"), ("a doctor", "医生"), ("a student", "学生"), ("a nurse", "护士"), ("a writer", "作家"),
    ("a driver", "司机"), ("a cook", "厨师"), ("an engineer", "工程师"), ("a lawyer", "律师"), ("a singer", "歌手"),
    ("a police officer", "警察"), ("a farmer", "农民"), ("a soldier", "军人"), ("a reporter", "记者"),
)  # fmt: skip
FEELINGS = (
    ("happy", "高兴"), ("tired", "累"), ("hungry", "饿"), ("thirsty", "渴"), ("busy", "忙"), ("sad", "难过"),
    ("nervous", "紧张"), ("angry", "生气"), ("bored", "无聊"), ("excited", "激动"), ("worried", "担心"),
    ("surprised", "惊讶"),
)  # fmt: skip
TRAITS = (
    ("tall", "高"), ("young", "年轻"), ("smart", "聪明"), ("friendly", "友好"), ("strong", "强壮"),
    ("patient", "耐心"), ("lazy", "懒"), ("careful", "细心"), ("quiet", "安静"), ("honest", "诚实"),
    ("polite", "有礼貌"), ("brave", "勇敢"),
)  # fmt: skip
THAN = (
    ("taller", "高"), ("younger", "年轻"), ("smarter", "聪明"), ("stronger", "强壮"), ("busier", "忙"),
    ("lazier", "懒"), ("more careful", "细心"), ("more patient", "耐心"), ("more polite", "有礼貌"),
)  # fmt: skip
THINGS = (  # English, plural, Chinese, measure word
    ("book", "books", "书", "本"), ("car", "cars", "车", "辆"), ("cup", "cups", "杯子", "个"),
    ("chair", "chairs", "椅子", "把"), ("table", "tables", "桌子", "张"), ("pen", "pens", "笔", "支"),
    ("picture", "pictures", "画", "幅"), ("shirt", "shirts", "衬衫", "件"),
    ("dictionary", "dictionaries", "词典", "本"),
    ("bicycle", "bicycles", "自行车", "辆"), ("umbrella", "umbrellas", "雨伞", "把"), ("bag", "bags", "包", "个"),
    ("watch", "watches", "手表", "块"), ("phone", "phones", "手机", "部"), ("hat", "hats", "帽子", "顶"),
    ("map", "maps", "地图", "张"),
)  # fmt: skip
QUALITIES = (
    ("new", "新"), ("old", "旧"), ("big", "大"), ("small", "小"), ("beautiful", "漂亮"), ("expensive", "贵"),
    ("cheap", "便宜"), ("light", "轻"),
)  # fmt: skip
COLORS = (
    ("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("black", "黑色"), ("white", "白色"), ("yellow", "黄色"),
)  # fmt: skip
FOODS = (
    ("rice", "米饭"), ("noodles", "面条"), ("fish", "鱼"), ("apples", "苹果"), ("bread", "面包"), ("beef", "牛肉"),
    ("eggs", "鸡蛋"), ("vegetables", "蔬菜"), ("cake", "蛋糕"), ("chicken", "鸡肉"), ("dumplings", "饺子"),
    ("fruit", "水果"),
)  # fmt: skip
DRINKS = (
    ("tea", "茶"), ("coffee", "咖啡"), ("water", "水"), ("milk", "牛奶"), ("juice", "果汁"), ("beer", "啤酒"),
)  # fmt: skip
ANIMALS = (("dog", "dogs", "狗"), ("cat", "cats", "猫"), ("bird", "birds", "鸟"), ("rabbit", "rabbits", "兔子"))
NUMBERS = (
    ("two", "两"), ("three", "三"), ("four", "四"), ("five", "五"), ("six", "六"), ("eight", "八"), ("ten", "十"),
)  # fmt: skip
CLOCK = (
    ("six", "六"), ("seven", "七"), ("eight", "八"), ("nine", "九"), ("ten", "十"), ("eleven", "十一"),
)  # fmt: skip
DAYS = (
    ("Monday", "星期一"), ("Tuesday", "星期二"), ("Wednesday", "星期三"), ("Thursday", "星期四"),
    ("Friday", "星期五"), ("Saturday", "星期六"), ("Sunday", "星期天"),
)  # fmt: skip
PAST = (
    ("yesterday", "昨天"), ("last night", "昨天晚上"), ("last week", "上个星期"), ("this morning", "今天早上"),
    ("last month", "上个月"),
)  # fmt: skip
FUTURE = (
    ("tomorrow", "明天"), ("tonight", "今天晚上"), ("next week", "下个星期"), ("next month", "下个月"),
    ("tomorrow morning", "明天早上"),
)  # fmt: skip
OFTEN = (
    ("every day", "每天"), ("every morning", "每天早上"), ("every evening", "每天晚上"), ("on weekends", "周末"),
)  # fmt: skip
MANNER = (("often", "常常"), ("always", "总是"), ("sometimes", "有时候"), ("usually", "通常"))
WEATHER = (
    ("it is raining", "下雨", "在下雨"), ("it is snowing", "下雪", "在下雪"), ("it is very cold", "很冷", "很冷"),
    ("it is very hot", "很热", "很热"),
)  # fmt: skip
ADVICE = (
    ("be late", "迟到"), ("worry", "担心"), ("cry", "哭"), ("laugh", "笑"), ("smoke here", "在这儿抽烟"),
    ("speak so loudly", "这么大声说话"), ("open the window", "开窗户"), ("forget your key", "忘了你的钥匙"),
    ("drive too fast", "开得太快"), ("go to bed too late", "睡得太晚"), ("touch the picture", "碰那幅画"),
)  # fmt: skip
PLEASE = (
    ("sit down", "坐下"), ("come in", "进来"), ("wait here", "在这儿等"), ("close the door", "关门"),
    ("help me", "帮帮我"), ("speak slowly", "说慢一点"), ("call me", "给我打电话"), ("look at the map", "看地图"),
    ("give me the key", "给我钥匙"), ("write your name here", "在这儿写你的名字"), ("listen to me", "听我说"),
    ("turn off the light", "关灯"),
)  # fmt: skip
SUBJECTS = (
    ("history", "历史"), ("math", "数学"), ("music", "音乐"), ("art", "艺术"), ("science", "科学"),
    ("English", "英语"), ("Chinese", "中文"), ("law", "法律"),
)  # fmt: skip
