"""Everybody's language: what it is, where its sentences end, what is found and counted in it."""

import pytest

from flythinker.data.check import describe
from flythinker.data.example import Document, Example
from flythinker.data.language import language_of
from flythinker.data.passages import topic_words
from flythinker.data.retrieval import retrieve
from flythinker.data.sentences import split_sentences
from flythinker.data.words import count_words

TEXTS = {  # two sentences each
    "en": ["The river was high after the rain.", "Dr. Miller walked along it in the evening."],
    "de": ["Der Fluss führte nach dem Regen viel Wasser.", "Herr Dr. Müller kam am 3. Mai zu uns."],
    "fr": [
        "La rivière était haute après la pluie.",
        "M. Dupont marchait le soir au bord de l'eau.",
    ],
    "ru": ["После дождя вода в реке поднялась очень высоко.", "Вечером мы гуляли по берегу."],
    "ar": ["هل كان النهر مرتفعا بعد المطر؟", "مشينا على ضفته في المساء."],
    "hi": ["बारिश के बाद नदी में बहुत पानी था।", "हम शाम को उसके किनारे चले।"],
    "zh": ["雨后河水涨得很高。", "傍晚我们沿着河岸散步。"],
    "ja": ["雨の後、川の水はとても高かった。", "夕方に岸辺を歩きました。"],
    "ko": ["비가 온 뒤 강물이 많이 불었다.", "우리는 저녁에 강가를 걸었다."],
    "th": ["หลังฝนตกน้ำในแม่น้ำสูงมาก", "ตอนเย็นเราเดินไปตามริมฝั่ง"],
}
UNSPACED = {"zh", "ja"}
# past texts, and a query whose words, differently inflected, only the second holds
ASKED = {
    "en": (["The cat sleeps on the sofa.", "The ships left for the sea."], "a ship leaving"),
    "de": (["Die Katze schläft auf dem Sofa.", TEXTS["de"][0]], "Fluesse und Flüsse"),
    "fr": (
        ["Le chat dort sur le canapé.", "Les chevaux couraient dans la plaine."],
        "un cheval court, courir",
    ),
    "ru": (["Кошка спит на мягком диване.", "Корабли вышли в открытое море."], "корабль в море"),
    "ar": (["القطة تنام على الأريكة الدافئة", "وصلت السفينة إلى الميناء في المساء"], "سفينة"),
    "hi": (["बिल्ली सोफे पर सो रही है।", "नदियों में बहुत पानी था।"], "नदी का पानी"),
    "zh": (["猫在沙发上睡觉。", "雨后河水涨得很高。"], "写一写河水"),
    "ja": (
        ["猫がソファで寝ています。", "昨日、新しい図書館に行きました。"],
        "図書館について書いて",
    ),
    "ko": (["고양이가 소파에서 잔다.", "우리는 도서관에서 책을 읽었다."], "도서관은 어때"),
    "th": (["แมวนอนบนโซฟา", "เราไปห้องสมุดเมื่อวานนี้"], "เขียนเรื่องห้องสมุด"),
}


@pytest.mark.parametrize("language", TEXTS)
def test_languages_and_sentences(language):
    space = "" if language in UNSPACED else " "
    text = space.join(TEXTS[language])
    assert language_of(text) == language
    assert split_sentences(text) == TEXTS[language]


@pytest.mark.parametrize("language", ASKED)
def test_the_text_that_holds_the_asked_words_comes_first(language):
    texts, query = ASKED[language]
    older, newer = Document(texts[1], date="2020"), Document(texts[0], date="2021")
    assert retrieve([older, newer], query, 1, "bm25") == [older]


def test_each_text_is_analysed_in_its_own_language():
    history = [Document(" ".join(sentences)) for sentences in TEXTS.values()]
    for asked, query in (("zh", "河水"), ("de", "Flüsse"), ("en", "rivers"), ("ru", "берега")):
        [found] = retrieve(history, query, 1, "bm25")
        assert found.text == " ".join(TEXTS[asked])


@pytest.mark.parametrize("text", ["", "123", "Anna Schmidt", "OK", "README.md"])
def test_what_says_nothing_of_its_language(text):
    assert language_of(text) == ""


def test_words_are_counted_without_spaces():
    assert count_words("one two\n\nthree") == 3
    assert 5 <= count_words(TEXTS["zh"][1]) <= 9
    assert 5 <= count_words(TEXTS["th"][0]) <= 9
    example = Example("a", "写", TEXTS["zh"][1], ())
    assert describe([example])["target_words_max"] == count_words(TEXTS["zh"][1])


def test_topics_of_other_languages_leave_their_stop_words_out():
    [german] = topic_words(["Nachdem nachdem jedoch jedoch führte der Fluss viel Wasser zu Tal."])
    assert "wasser" in german
    assert not {"nachdem", "jedoch"} & set(german)
    [chinese] = topic_words([TEXTS["zh"][1]])
    assert "散步" in chinese
