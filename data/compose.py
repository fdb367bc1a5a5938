"""Compose the shipped corpus: sentences written by hand, and new ones from phrases that were.

``python data/compose.py`` writes zh-en.tsv and zh-en-held-out.tsv beside itself, the same bytes every time;
``python data/compose.py --check`` says whether they are what it would write.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from phrases import (
    ACTIVITIES,
    ADVICE,
    ANIMALS,
    AT_HOME,
    CITIES,
    CLOCK,
    COLORS,
    COUNTRIES,
    DAYS,
    DRINKS,
    FAMILY,
    FEELINGS,
    FOODS,
    FUTURE,
    GOALS,
    HE,
    JOBS,
    MANNER,
    NUMBERS,
    OFTEN,
    OUTSIDE,
    PAST,
    PEOPLE,
    PLACES,
    PLEASE,
    PRONOUNS,
    QUALITIES,
    SHE,
    SKILLS,
    SUBJECTS,
    THAN,
    THEY,
    THINGS,
    TRAITS,
    WE,
    WEATHER,
    YOU,
    I,
    Person,
    Verb,
)  # fmt: skip

HERE = Path(__file__).parent
CREDIT = "jaxseq authors, CC0"
PER_STRUCTURE, HELD_COMPOSED, HELD_WRITTEN = 150, 300, 30
RARELY = 3
"""Every word of a composed held-out sentence is in the training part at least so often."""

Pair = tuple[str, str]
STRUCTURES: list[Callable[[], Iterator[Pair]]] = []


def structure(generate: Callable[[], Iterator[Pair]]) -> Callable[[], Iterator[Pair]]:
    STRUCTURES.append(generate)
    return generate


def does(who: Person, verb: Verb) -> str:
    return verb.s if who.s else verb.base


def do(who: Person) -> str:
    return "does" if who.s else "do"


def other(who: Person) -> tuple[Person, ...]:
    """People whom `who` can meet: no pronoun twice, nothing circular."""
    return tuple(p for p in (HE, SHE, THEY, *FAMILY) if p != who)


# Being and having


@structure
def am_a() -> Iterator[Pair]:
    for p, (en, zh) in product((I, YOU, HE, SHE, *FAMILY), JOBS):
        yield f"{p.en} {p.be} {en}.", f"{p.zh}是{zh}。"


@structure
def am_not_a() -> Iterator[Pair]:
    for p, (en, zh), (en2, zh2) in product((I, HE, SHE), JOBS, JOBS):
        if en != en2:
            yield f"{p.en} {p.be} not {en} but {en2}.", f"{p.zh}不是{zh}，是{zh2}。"


@structure
def feel() -> Iterator[Pair]:
    for p, (en, zh), (how, zhow) in product(PEOPLE, FEELINGS, (("very", "很"), ("a little", "有点儿"), ("not", "不"))):
        yield f"{p.en} {p.be} {how} {en}.", f"{p.zh}{zhow}{zh}。"


@structure
def are_they_trait() -> Iterator[Pair]:
    for p, (en, zh) in product((HE, SHE, *FAMILY), TRAITS):
        yield f"is {p.en} {en}?", f"{p.zh}{zh}吗？"
        yield f"{p.en} {p.be} very {en}.", f"{p.zh}很{zh}。"


@structure
def both_and() -> Iterator[Pair]:
    for p, (a, za), (b, zb) in product((HE, SHE, *FAMILY), TRAITS, TRAITS):
        if a < b:
            yield f"{p.en} {p.be} both {a} and {b}.", f"{p.zh}又{za}又{zb}。"


@structure
def taller_than() -> Iterator[Pair]:
    for p, (en, zh) in product((I, YOU, HE, SHE, *FAMILY), THAN):
        for q in other(p):
            yield f"{p.en} {p.be} {en} than {q.me}.", f"{p.zh}比{q.zh}{zh}。"


@structure
def as_as() -> Iterator[Pair]:
    for p, (en, zh) in product((I, YOU, HE, SHE), TRAITS[:7]):
        for q in other(p):
            yield f"{p.en} {p.be} as {en} as {q.me}.", f"{p.zh}跟{q.zh}一样{zh}。"


@structure
def most_in() -> Iterator[Pair]:
    most = (
        ("tallest", "最高"),
        ("youngest", "最年轻"),
        ("smartest", "最聪明"),
        ("busiest", "最忙"),
        ("laziest", "最懒"),
    )
    for p, (en, zh), (g, zg) in product(
        PRONOUNS[:4], most, (("class", "班里"), ("family", "家里"), ("office", "办公室里"))
    ):
        yield f"{p.en} {p.be} the {en} in the {g}.", f"{p.zh}是{zg}{zh}的。"


@structure
def come_from() -> Iterator[Pair]:
    for p, (en, zh) in product(PEOPLE, COUNTRIES + CITIES):
        yield f"{p.en} {p.be} from {en}.", f"{p.zh}是从{zh}来的。"


@structure
def have_things() -> Iterator[Pair]:
    for p, (n, zn), (_, en, zh, m) in product(PEOPLE, NUMBERS, THINGS):
        yield f"{p.en} {p.have} {n} {en}.", f"{p.zh}有{zn}{m}{zh}。"


@structure
def have_no() -> Iterator[Pair]:
    for p, (en, _, zh, _) in product(PEOPLE, THINGS):
        negated = "does not" if p.s else "do not"
        yield f"{p.en} {negated} have {'an' if en[0] in 'aeiou' else 'a'} {en}.", f"{p.zh}没有{zh}。"


@structure
def new_thing() -> Iterator[Pair]:
    for p, (q, zq), (en, _, zh, m) in product(PEOPLE, QUALITIES, THINGS):
        article = "an" if q[0] in "aeiou" else "a"
        yield f"{p.en} {p.have} {article} {q} {en}.", f"{p.zh}有一{m}{zq}的{zh}。"


@structure
def how_many() -> Iterator[Pair]:
    for p, (_, en, zh, m) in product(PEOPLE, THINGS):
        yield f"how many {en} {do(p)} {p.en} have?", f"{p.zh}有几{m}{zh}？"


@structure
def pets() -> Iterator[Pair]:
    for p, (n, zn), (_, en, zh) in product(PEOPLE, NUMBERS[:4], ANIMALS):
        yield f"{p.en} {p.have} {n} {en} at home.", f"{p.zh}家里有{zn}只{zh}。"


@structure
def whose() -> Iterator[Pair]:
    for p, (en, _, zh, _) in product(PRONOUNS, THINGS):
        yield f"this is {p.my} {en}.", f"这是{p.zh}的{zh}。"
        yield f"is that {p.my} {en}?", f"那是{p.zh}的{zh}吗？"


@structure
def colors() -> Iterator[Pair]:
    for p, (en, _, zh, _), (c, zc) in product(PRONOUNS, THINGS, COLORS):
        yield f"{p.my} {en} is {c}.", f"{p.zh}的{zh}是{zc}的。"


@structure
def too_expensive() -> Iterator[Pair]:
    for (en, _, zh, m), (q, zq), (this, zt) in product(THINGS, QUALITIES[2:], (("this", "这"), ("that", "那"))):
        yield f"{this} {en} is too {q}.", f"{zt}{m}{zh}太{zq}了。"
        yield f"{this} {en} is not {q} at all.", f"{zt}{m}{zh}一点儿也不{zq}。"


@structure
def how_much() -> Iterator[Pair]:
    for (en, _, zh, m), (this, zt) in product(THINGS, (("this", "这"), ("that", "那"))):
        yield f"how much is {this} {en}?", f"{zt}{m}{zh}多少钱？"
        yield f"who bought {this} {en}?", f"{zt}{m}{zh}是谁买的？"


# Where


@structure
def is_at() -> Iterator[Pair]:
    for p, (en, zh), (now, zn) in product(PEOPLE, PLACES, ((" now", "现在"), ("", ""))):
        yield f"{p.en} {p.be} at {en}{now}.", f"{p.zh}{zn}在{zh}。"


@structure
def where_is() -> Iterator[Pair]:
    for en, zh in PLACES:
        yield f"where is {en}?", f"{zh}在哪儿？"
        yield f"how do I get to {en}?", f"去{zh}怎么走？"
        yield f"is {en} far from here?", f"{zh}离这儿远吗？"


@structure
def near() -> Iterator[Pair]:
    for (en, zh), (en2, zh2) in product(PLACES, PLACES):
        if en != en2:
            yield f"{en} is next to {en2}.", f"{zh}在{zh2}旁边。"


@structure
def on_the_table() -> Iterator[Pair]:
    spots = (
        ("on the table", "桌子上"),
        ("under the chair", "椅子下面"),
        ("in the room", "房间里"),
        ("by the door", "门旁边"),
    )
    for p, (en, _, zh, _), (spot, zs) in product(PRONOUNS, THINGS[5:], spots):
        yield f"{p.my} {en} is {spot}.", f"{p.zh}的{zh}在{zs}。"


@structure
def there_are() -> Iterator[Pair]:
    spots = (("on the table", "桌子上"), ("in the room", "房间里"), ("in the bag", "包里"))
    for (n, zn), (_, en, zh, m), (spot, zs) in product(NUMBERS, THINGS[4:9], spots):
        yield f"there are {n} {en} {spot}.", f"{zs}有{zn}{m}{zh}。"


@structure
def live_in() -> Iterator[Pair]:
    for p, (en, zh), years in product(PEOPLE, CITIES, ((None, None), *NUMBERS[:4])):
        live = "lives" if p.s else "live"
        if years[0] is None:
            yield f"{p.en} {live} in {en}.", f"{p.zh}住在{zh}。"
        else:
            yield f"{p.en} lived in {en} for {years[0]} years.", f"{p.zh}在{zh}住了{years[1]}年。"


@structure
def have_been() -> Iterator[Pair]:
    for p, (en, zh) in product(PEOPLE, CITIES + COUNTRIES):
        yield f"{p.en} {p.have} never been to {en}.", f"{p.zh}从来没去过{zh}。"
        yield f"{p.en} {p.have} been to {en}.", f"{p.zh}去过{zh}。"


# Doing


@structure
def doing_now() -> Iterator[Pair]:
    for p, v in product(PEOPLE, ACTIVITIES):
        yield f"{p.en} {p.be} {v.ing}.", f"{p.zh}在{v.zh}。"
        yield f"{p.be} {p.en} {v.ing}?", f"{p.zh}在{v.zh}吗？"


@structure
def doing_where() -> Iterator[Pair]:
    for p, v in product(PEOPLE, AT_HOME):
        yield f"{p.en} {p.be} {v.ing} at home.", f"{p.zh}在家{v.zh}。"
    for p, v, (en, zh) in product(
        PEOPLE, OUTSIDE[2:4] + OUTSIDE[:2], (("in the park", "公园里"), ("at school", "学校"))
    ):
        yield f"{p.en} {p.be} {v.ing} {en}.", f"{p.zh}正在{zh}{v.zh}。"


@structure
def did() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, ACTIVITIES, PAST):
        yield f"{p.en} {v.past} {en}.", f"{p.zh}{zh}{v.zh}了。"


@structure
def did_not() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, ACTIVITIES, PAST):
        yield f"{p.en} did not {v.base} {en}.", f"{p.zh}{zh}没{v.zh}。"


@structure
def will() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, ACTIVITIES, FUTURE):
        yield f"{p.en} will {v.base} {en}.", f"{p.zh}{zh}会{v.zh}。"


@structure
def going_to() -> Iterator[Pair]:
    for p, (place, zp), (en, zh) in product(PEOPLE, PLACES, FUTURE):
        yield f"{p.en} {p.be} going to {place} {en}.", f"{p.zh}{zh}要去{zp}。"


@structure
def went_to() -> Iterator[Pair]:
    for p, (place, zp), (en, zh) in product(PEOPLE, PLACES, PAST):
        yield f"{p.en} went to {place} {en}.", f"{p.zh}{zh}去了{zp}。"


@structure
def every_day() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, ACTIVITIES, OFTEN):
        yield f"{p.en} {does(p, v)} {en}.", f"{p.zh}{zh}{v.zh}。"


@structure
def often_with() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE[:8], OUTSIDE, MANNER):
        for q in other(p)[:3]:
            yield f"{p.en} {en} {does(p, v)} with {q.me}.", f"{p.zh}{zh}跟{q.zh}一起{v.zh}。"


@structure
def at_clock() -> Iterator[Pair]:
    at = (
        (("get up", "gets up"), "起床"),
        (("go to work", "goes to work"), "上班"),
        (("go to bed", "goes to bed"), "睡觉"),
        (("go home", "goes home"), "回家"),
        (("have class", "has class"), "上课"),
    )
    for p, ((base, s), zv), (en, zh) in product(PEOPLE, at, CLOCK):
        yield f"{p.en} {s if p.s else base} at {en} o'clock.", f"{p.zh}{zh}点{zv}。"
        yield f"what time {do(p)} {p.en} {base}?", f"{p.zh}几点{zv}？"


@structure
def on_day() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, ACTIVITIES, DAYS):
        yield f"{p.en} {does(p, v)} on {en}.", f"{p.zh}{zh}{v.zh}。"


@structure
def can() -> Iterator[Pair]:
    for p, v in product(PEOPLE, SKILLS):
        yield f"{p.en} can {v.base}.", f"{p.zh}会{v.zh}。"
        yield f"can {p.en} {v.base}?", f"{p.zh}会{v.zh}吗？"
        yield f"{p.en} can not {v.base}.", f"{p.zh}不会{v.zh}。"


@structure
def learning_from() -> Iterator[Pair]:
    for p, v in product(PRONOUNS[:5], SKILLS):
        for q in FAMILY:
            yield f"{p.en} learned to {v.base} from {q.me}.", f"{p.zh}是跟{q.zh}学{v.zh}的。"


@structure
def want_to() -> Iterator[Pair]:
    for p, v in product(PEOPLE, ACTIVITIES):
        yield f"{p.en} {'wants' if p.s else 'want'} to {v.base}.", f"{p.zh}想{v.zh}。"
        yield f"{do(p)} {p.en} want to {v.base}?", f"{p.zh}想{v.zh}吗？"


@structure
def like_doing() -> Iterator[Pair]:
    for p, v in product(PEOPLE, ACTIVITIES):
        negated = "does not like" if p.s else "do not like"
        yield f"{p.en} {'likes' if p.s else 'like'} {v.ing}.", f"{p.zh}喜欢{v.zh}。"
        yield f"{p.en} {negated} {v.ing}.", f"{p.zh}不喜欢{v.zh}。"


@structure
def eat_or() -> Iterator[Pair]:
    for p, (a, za), (b, zb) in product(PRONOUNS, FOODS, FOODS):
        if a != b:
            yield f"{p.en} {'likes' if p.s else 'like'} {a} more than {b}.", f"比起{zb}，{p.zh}更喜欢吃{za}。"


@structure
def would_you_like() -> Iterator[Pair]:
    for (a, za), (b, zb) in product(FOODS, DRINKS):
        yield f"I want to eat {a} and drink {b}.", f"我想吃{za}，喝{zb}。"
        yield f"do you have {a} and {b}?", f"你们有{za}和{zb}吗？"
    for (a, za), (b, zb) in product(DRINKS, DRINKS):
        if a != b:
            yield f"would you like {a} or {b}?", f"你要喝{za}还是{zb}？"


@structure
def should() -> Iterator[Pair]:
    for p, v in product(PEOPLE, ACTIVITIES):
        yield f"{p.en} should {v.base} more often.", f"{p.zh}应该多{v.zh}。"
        yield f"{p.en} {'has' if p.s else 'have'} to {v.base} today.", f"{p.zh}今天得{v.zh}。"


@structure
def result() -> Iterator[Pair]:
    for p, (past, _, en, zh, zv) in product(PEOPLE, GOALS):
        yield f"{p.en} {past} {en}.", f"{p.zh}把{zh}{zv}了。"
        yield f"{p.en} {'has' if p.s else 'have'} not {_done(past)} {en} yet.", f"{p.zh}还没把{zh}{zv}。"
        yield f"who {past} {en}?", f"谁把{zh}{zv}了？"


def _done(past: str) -> str:
    return {"broke": "broken"}.get(past, past)


@structure
def give() -> Iterator[Pair]:
    for p, q, (en, _, zh, m) in product(PEOPLE[:8], (HE, SHE, THEY, *FAMILY[:3]), THINGS):
        if p != q:
            article = "an" if en[0] in "aeiou" else "a"
            yield f"{p.en} gave {q.me} {article} {en}.", f"{p.zh}给了{q.zh}一{m}{zh}。"


@structure
def study() -> Iterator[Pair]:
    for p, (en, zh) in product(PEOPLE, SUBJECTS):
        yield f"{p.en} {p.be} interested in {en}.", f"{p.zh}对{zh}感兴趣。"
        yield f"{p.en} {'thinks' if p.s else 'think'} {en} is difficult.", f"{p.zh}觉得{zh}很难。"


# Sentences of two parts


@structure
def because() -> Iterator[Pair]:
    for p, (en, zh), v in product(PRONOUNS, FEELINGS[1:5], AT_HOME):
        yield (
            f"{p.en} did not {v.base} because {p.en} {'was' if p.s or p == I else 'were'} too {en}.",
            (f"因为{p.zh}太{zh}了，所以没{v.zh}。"),
        )


@structure
def if_weather() -> Iterator[Pair]:
    for p, v, (en, zh, _) in product(PEOPLE, AT_HOME, WEATHER):
        tomorrow = (
            en.replace("it is raining", "it rains").replace("it is snowing", "it snows").replace(" is very", " is")
        )
        zh = zh.replace("很", "")
        yield f"if {tomorrow} tomorrow, {p.en} will {v.base} at home.", f"如果明天{zh}，{p.zh}就在家{v.zh}。"


@structure
def although() -> Iterator[Pair]:
    for p, (en, zh), v in product(PRONOUNS, FEELINGS[1:5], ACTIVITIES):
        yield (
            f"although {p.en} {p.be} {en}, {p.en} still {'wants' if p.s else 'want'} to {v.base}.",
            (f"虽然{p.zh}很{zh}，但是{p.zh}还想{v.zh}。"),
        )


@structure
def weather_now() -> Iterator[Pair]:
    for (en, _, zh), v in product(WEATHER, OUTSIDE):
        for p in PRONOUNS[:5]:
            yield f"{en}, so {p.en} can not {v.base} outside.", f"外面{zh}，{p.zh}不能在外面{v.zh}。"


@structure
def when() -> Iterator[Pair]:
    for p, v, w in product(PRONOUNS, AT_HOME, AT_HOME[:8]):
        for q in (HE, SHE, *FAMILY[:2]):
            if p != q and v != w:
                was = "was" if p.s or p == I else "were"
                yield f"when {q.en} came home, {p.en} {was} {v.ing}.", f"{q.zh}回家的时候，{p.zh}在{v.zh}。"


@structure
def before_after() -> Iterator[Pair]:
    for p, v, w in product(PRONOUNS, AT_HOME[:4] + OUTSIDE[:4], AT_HOME[4:]):
        yield f"{p.en} {does(p, w)} before {v.ing}.", f"{p.zh}{v.zh}以前{w.zh}。"
        yield f"{p.en} {does(p, w)} after {v.ing}.", f"{p.zh}{v.zh}以后{w.zh}。"


@structure
def while_doing() -> Iterator[Pair]:
    for p, v in product(PEOPLE, AT_HOME[:2] + AT_HOME[8:13]):
        yield f"{p.en} {'listens' if p.s else 'listen'} to music while {v.ing}.", f"{p.zh}一边{v.zh}一边听音乐。"


@structure
def said_that() -> Iterator[Pair]:
    for p, q, (en, zh) in product((HE, SHE, *FAMILY), (HE, SHE, THEY, WE), FEELINGS):
        if p != q:
            yield f"{p.en} said that {q.en} {'was' if q.s else 'were'} very {en}.", f"{p.zh}说{q.zh}很{zh}。"


@structure
def do_you_know() -> Iterator[Pair]:
    for p, (en, zh) in product((HE, SHE, THEY, *FAMILY), CITIES[:4]):
        goes = f"when {p.en} {p.be} going to {en}"
        yield f"do you know {goes}?", f"你知道{p.zh}什么时候去{zh}吗？"
        yield f"I do not know {goes}.", f"我不知道{p.zh}什么时候去{zh}。"


@structure
def by_transport() -> Iterator[Pair]:
    by = (
        ("by bus", "坐公共汽车"),
        ("by train", "坐火车"),
        ("by taxi", "坐出租车"),
        ("on foot", "走路"),
        ("by car", "开车"),
    )
    for p, (en, zh), (way, zw) in product(PEOPLE, PLACES, by):
        yield f"{p.en} {'goes' if p.s else 'go'} to {en} {way}.", f"{p.zh}{zw}去{zh}。"


@structure
def how_long() -> Iterator[Pair]:
    for p, v, (en, zh) in product(PEOPLE, AT_HOME, NUMBERS[:4]):
        yield f"{p.en} {v.past} for {en} hours.", f"{p.zh}{_for_hours(v.zh, zh)}。"


def _for_hours(verb: str, hours: str) -> str:
    """Chinese says the verb, then how long, then its object: 看了两个小时书."""
    if verb == "工作":
        return f"工作了{hours}个小时"
    cut = 2 if verb.startswith("打扫") else 1
    return f"{verb[:cut]}了{hours}个小时{verb[cut:]}"


# Asking and telling


@structure
def please() -> Iterator[Pair]:
    for en, zh in PLEASE:
        yield f"please {en}.", f"请{zh}。"
        yield f"can you {en}?".replace(" your ", " his "), f"你能{zh}吗？".replace("你的", "他的")
    for en, zh in ADVICE:
        yield f"please do not {en}.", f"请不要{zh}。"
        yield f"do not {en}!", f"别{zh}！"
        yield (
            f"my mother told me not to {en}.".replace(" your ", " my "),
            f"我妈妈叫我不要{zh}。".replace("你的", "我的"),
        )


@structure
def lets() -> Iterator[Pair]:
    for v, (en, zh) in product(ACTIVITIES, (*FUTURE, ("together", "一起"))):
        yield f"let us {v.base} {en}.", f"我们{zh}{v.zh}吧。"


@structure
def what_are_you_doing() -> Iterator[Pair]:
    for p, (en, zh) in product(PEOPLE, PAST):
        yield f"what did {p.en} do {en}?", f"{p.zh}{zh}做什么了？"
        yield f"where did {p.en} go {en}?", f"{p.zh}{zh}去哪儿了？"
    for p, (en, zh) in product(PEOPLE, FUTURE):
        yield f"what will {p.en} do {en}?", f"{p.zh}{zh}做什么？"


@structure
def why() -> Iterator[Pair]:
    for p, (en, zh) in product(PEOPLE, FEELINGS):
        yield f"why {p.be} {p.en} so {en}?", f"{p.zh}为什么这么{zh}？"
    for p, v in product(PEOPLE, ACTIVITIES):
        yield f"why {do(p)} {p.en} not like {v.ing}?", f"{p.zh}为什么不喜欢{v.zh}？"


def key(sentence: str) -> str:
    """What makes two sentences the same: words, without case and punctuation."""
    return re.sub(r"[\W_]+", " ", sentence.lower()).strip()


def add(pairs: list[Pair], seen: set[str], pair: Pair) -> bool:
    """Add a pair unless one of its sentences is there already."""
    keys = {key(side) for side in pair}
    if keys & seen:
        return False
    seen |= keys
    pairs.append(pair)
    return True


def compose(rng: random.Random, seen: set[str]) -> list[Pair]:
    """Return sentences of every structure, up to the same number of each."""
    pairs: list[Pair] = []
    for generate in STRUCTURES:
        possible = [(en[0].upper() + en[1:], zh) for en, zh in generate()]
        rng.shuffle(possible)
        taken = 0
        for pair in possible:
            taken += taken < PER_STRUCTURE and add(pairs, seen, pair)
    rng.shuffle(pairs)
    return pairs


def build() -> dict[str, str]:
    """Return the contents of both shipped files by name."""
    rng, seen = random.Random(1949), set[str]()
    written: list[Pair] = []
    for line in (HERE / "written.tsv").read_text(encoding="utf-8").splitlines():
        en, zh = line.split("\t")[:2]
        add(written, seen, (en, zh))
    composed = compose(rng, seen)
    rng.shuffle(written)
    held, train = written[:HELD_WRITTEN], written[HELD_WRITTEN:]
    counts = Counter(word for pair in composed for word in (*key(pair[0]).split(), *pair[1]))
    known = [all(counts[w] > 2 * RARELY for w in (*key(en).split(), *zh)) for en, zh in composed]
    chosen = {i for i, right in enumerate(known) if right and i < 2 * HELD_COMPOSED}
    chosen = set(sorted(chosen)[:HELD_COMPOSED])
    held += [pair for i, pair in enumerate(composed) if i in chosen]
    train += [pair for i, pair in enumerate(composed) if i not in chosen]
    rng.shuffle(train)
    files = {"zh-en.tsv": train, "zh-en-held-out.tsv": held}
    return {name: "".join(f"{en}\t{zh}\t{CREDIT}\n" for en, zh in pairs) for name, pairs in files.items()}


def main() -> int:
    """Write the files, or check them."""
    files = build()
    if "--check" in sys.argv[1:]:
        wrong = [name for name, text in files.items() if (HERE / name).read_text(encoding="utf-8") != text]
        print(f"differs from what compose.py writes: {', '.join(wrong)}" if wrong else "as composed")
        return bool(wrong)
    for name, text in files.items():
        (HERE / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {text.count(chr(10))} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
