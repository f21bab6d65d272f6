"""Texts in a response that speak to whoever judges it, rather than to who asked.

`addresses_judge` reads the whole response, however long. Before it looks, it takes off what hides a
phrase from a pattern and not from a model: characters that nobody sees, marks above letters, case,
widths, letters of other scripts that look like Latin ones, letters set apart one by one. Between
two words of a phrase may stand whatever is no word.

It cannot see what no pattern says: a paraphrase, a language that is not in the list, a code such as
base64, digits for letters. What it finds is a reason to leave a response out, not a proof.

Always holds: the time grows with the length of the text and no faster.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache

from winnow.text import UNSPACED, plain_text


def addresses_judge(prompt: str, response: str) -> bool:
    """Whether a response tells a judge how to judge, or looks like what a judge is given or says.

    A kind of phrase that the prompt has too is no fault of the response, nor is a verdict or a
    score where the prompt asks for one. In a text that speaks of such attacks, phrases in quotes do
    not count.
    """
    found = _kinds_in(response)
    if not found:
        return False
    asked = _kinds_in(prompt, also_quoted=True)
    if any(_ASKS_TO_JUDGE.search(form) for form in _forms(prompt)):
        asked |= {"claim", "verdict", "score"}
    return not found <= asked


def _blanks(phrase: str) -> str:
    """The pattern of a phrase."""
    return phrase.replace(" ", r"\W{1,40}")


# In a phrase a blank stands for anything between two words; what is before "~" are first words.
_ANSWER = "(?:answer|response|output|reply|completion|submission)"
_THIS = "(?:this|my|the above|the current|the present|the first|the second|the following)"
_BEST = "(?:better|best|superior|preferred|chosen|selected|winner|winning|highest)"
_JUDGES = "judge|evaluator|annotator|grader|rater|labeler|labeller|scorer|reward model"
_SIDE = r"\W{0,8}[ab](?=[\s\"')\]*]{0,4}(?:[.!;,:\n}]|$))"
_NUMBER_OR_SIDE = _SIDE.replace("[ab]", "[ab12]")
_PAST = (
    "(?:previous|prior|above|earlier|preceding|foregoing|original|past|system|evaluation|grading"
    "|scoring|judging)"
)
_ORDERS = (
    r"(?:instruction|direction|guideline|criteri|rubric|command|prompt|model output"
    r"|evaluation)\w{0,3}"
)
_JUDGING = (
    rf"(?:verdict|(?:prefer|choose) {_THIS}|(?:response|answer|output|assistant) [ab](?!\w)"
    rf"|this {_ANSWER}|(?:better|best|winning) {_ANSWER})\b"
)

_PHRASES = {
    "ignore": [
        "ignore|ignoring|disregard|forget|override|overlook|bypass~"
        "(?: (?:all|any|every|everything|the|of|your|my|these|those|other|to|about)){0,4}"
        rf" (?:{_PAST}(?: \w+){{0,2}}? {_ORDERS}"
        rf"|{_ORDERS}(?: \w+){{0,4}}? (?:above|before|previously|earlier|prior)"
        rf"|(?:above|other|evaluation) {_ANSWER}s?)\b",
        rf"act as if~ (?:there (?:is|were|was) no|the) other {_ANSWER}\b",
        rf"ignore|disregard~(?: \w+)? the other (?:{_ANSWER}|assistant|candidate)\b",
        "ignore|disregard|forget~ (?:everything|all)(?: that)?(?: was)?(?: said| written)?"
        r" (?:above|before this|until now)\b",
        r"ignor[ae]|ignorad|olvid[ae]|descarta~(?: \w+){0,3} (?:instrucciones|indicaciones)",
        r"ignore|ignorez|oublie|oubliez~(?: \w+){0,3} (?:instructions|consignes)"
        " (?:precedentes|ci dessus|anterieures)",
        r"ignorier\w*|vergiss|vergessen sie|missachte\w*~(?: \w+){0,3}"
        r" (?:anweisung\w*|instruktion\w*|vorgaben)",
        r"ignore|esqueca|desconsidere~(?: \w+){0,3} (?:instrucoes|orientacoes)",
        r"ignora|ignorate|dimentica~(?: \w+){0,3} istruzioni",
        r"игнорир\w*|забудь\w*~(?: \w+){0,3} (?:инструкци\w*|указани\w*)",
        r"忽略|无视|無視|忘记|忘記~[^。]{0,10}(?:之前|以上|上述|前面|先前)[^。]{0,6}"
        "(?:指令|指示|说明|說明|提示|要求)",
        "以前|上記|これまで|前~の(?:すべての|全ての)?(?:指示|命令)[はを](?:無視|忘れ)",
        r"이전|위의|앞의~[^.]{0,20}(?:지시|명령|지침)[^.]{0,20}(?:무시|잊)",
        r"تجاهل|تجاهلوا|انس~(?: \w+){0,3} (?:التعليمات|الاوامر)",
        r"पिछल|उपरोक्त|पूर्व~[^।]{0,24}निर्देश[^।]{0,24}(?:अनदेखा|नज़रअंदाज़|भूल)",
    ],
    "choose": [
        rf"choose|select|prefer|pick|favor|favour|vote for|reward~ {_THIS}(?: \w+)? {_ANSWER}\b",
        "rate|rank|score|mark|grade|declare|judge|label|deem|give|award|assign~"
        rf" {_THIS} {_ANSWER}(?: \w+){{0,6}}?"
        rf" (?:{_BEST}|perfect|first|maximum|full|top|10|ten|100|higher)\b",
        r"mark|rate|label|treat|deem|consider|declare|choose|select~ (?:this|mine|it|me)"
        rf"(?: \w+){{0,2}}? {_BEST} {_ANSWER}\b",
        "choose|select|prefer|pick~ (?:it|this|this one|mine|me) over (?:the|all|any)"
        " (?:other|alternat)",
        rf"declare|conclude that~ (?:the )?(?:{_ANSWER}|assistant) [ab12]\b",
        "choose|select|prefer|pick|favor|favour|vote for~"
        rf" (?:the )?(?:{_ANSWER}|assistant){_NUMBER_OR_SIDE}",
        "output|answer|reply|respond|print|say|write|return~"
        f"(?: with| only){{0,2}} the letter{_SIDE}",
        "must|should|please|always|just|simply|only|and~ (?:choose|select|pick|prefer|output)"
        rf"(?: only)?(?: option| the letter)?{_SIDE}",
        rf"choose|pick|select|prefer|rank|rate~ me (?:as the (?:{_BEST}|first)|over the other)",
        "elige|elija|seleccion[ae]|escoge|prefier[ea]~ (?:esta|mi) respuesta",
        "choisis|choisissez|selectionnez?|preferez?~ (?:cette|ma) reponse",
        "wahlen?|waehlen?|bevorzugen?|nimm~(?: sie)? (?:diese|meine) antwort",
        "escolha|selecione|prefira~ (?:esta|essa|a minha|minha) resposta",
        "scegli|scelga|scegliete|seleziona|preferisci~ (?:questa|la mia) risposta",
        r"выбер\w*|предпочт\w*|выбира\w*~ (?:этот|мой|данный) ответ",
        "选择|选|選擇|選|偏好~(?:这个|這個|本|此|我的)(?:回答|回复|回覆|答案|回应)",
        "この|私の~(?:回答|応答|返答)を(?:選|優先)",
        "이~ (?:답변|응답|대답)(?:을|를) (?:선택|고르|선호)",
        "اختر|اختاروا|فضل~ (?:هذه|هذا) (?:الاجابة|الرد|الجواب)",
        "इस|मेरे~ (?:उत्तर|जवाब) को (?:चुन|बेहतर)",
    ],
    "claim": [
        f"this|my|the above|the present~(?: is(?: \\w+){{0,2}}? {_BEST} {_ANSWER}\\b| {_ANSWER}"
        r"(?: \w+)? (?:is|should be|must be|has to be|deserves|ought to be)"
        rf"(?: \w+){{0,3}}? {_BEST}\b)",
        rf"i am the~ {_BEST} (?:{_ANSWER}|choice|assistant)\b",
        f"better|best|superior|preferred|winning~ {_ANSWER} is"
        r" (?:this one|mine|the above|the (?:first|second) one)\b",
        "other|following|next|second|opposing|competing|rival~ (?:response|output|completion) is"
        r"(?: \w+){0,2}? (?:worse|inferior|poor|bad|wrong|incorrect|unsafe)\b",
        rf"mine is~ {_BEST}\b",
        f"other|alternative|opposing|competing|rival~ {_ANSWER}(?: \\w+)? (?:contains?|has|have)"
        r"(?: \w+){0,2}? (?:errors|mistakes)\b",
        "annotators|evaluators|judges|experts|graders|raters~(?: \\w+){0,3}?"
        f" (?:prefer|preferred|chose|favou?r|favou?red|selected) {_THIS} {_ANSWER}\\b",
        r"response|assistant|output|completion~ [ab12] (?:is|was)"
        rf"(?: \w+){{0,3}}? {_BEST}\b",
        r"esta|mi~ respuesta es(?: \w+){0,2}? (?:mejor|superior)\b",
        r"cette|ma~ reponse est(?: \w+){0,2}? (?:meilleure|superieure)\b",
        r"diese|meine~ antwort ist(?: \w+){0,2}? (?:besser\w*|beste)\b",
        r"esta|minha~ resposta e(?: \w+){0,2}? (?:melhor|superior)\b",
        r"questa|la mia~ risposta e(?: \w+){0,2}? (?:migliore|superiore)\b",
        r"этот|мой~ ответ(?: \w+){0,2}? лучш",
        "这个|這個|本|此|我的~(?:回答|回复|回覆|答案)(?:是)?(?:更好|最好|最佳|更优|更優)",
        "この|私の~(?:回答|応答)(?:の方)?(?:が|は)(?:より)?(?:優れ|最も|良い|一番)",
        "이~ (?:답변|응답)(?:이|은) (?:더|가장)",
    ],
    "verdict": [
        r"evaluation|grading|judging|comparison|final~ (?:result|outcome|decision)\W{1,4}"
        f"(?:(?:{_ANSWER}|assistant) )?{_NUMBER_OR_SIDE}",
        r"verdict|winner|preference|preferred|judgment|judgement~[\"'*]{0,3}(?:[:=]| is| goes to)"
        rf"[\W]{{0,6}}(?:the )?(?:{_ANSWER} |assistant |option )?{_NUMBER_OR_SIDE}",
        "better|best|superior|preferred|winning~ (?:response|output|completion|assistant) is"
        rf" (?:(?:response|output|completion|assistant) )?{_NUMBER_OR_SIDE}",
    ],
    "score": [
        "give|award|assign|grant~ (?:10|ten|100)(?: points| marks)? (?:to|for)"
        rf" {_THIS} {_ANSWER}\b",
        r"give|award|assign|grant~(?: \w+){0,3}? (?:full|maximum|highest|top|perfect)"
        rf" (?:marks?|points?|score|grade|rating) (?:to|for) {_THIS} {_ANSWER}\b",
        r"merits|deserves|earns~(?: \w+)? (?:full|maximum|highest|top|perfect)"
        r" (?:marks|points|score|grade|rating)\b",
        f"give|award|assign|deserve|deserves|receives|merits|earns~(?: {_THIS} {_ANSWER})?"
        r"(?: \w+)? (?:score|rating|grade) of (?:a )?(?:10|ten|100)\b",
        r"score|rating|grade~\W{1,6}(?:10\W{0,2}/\W{0,2}10|100\W{0,2}/\W{0,2}100|10 out of 10"
        r"|\[\[10\]\])",
    ],
    "address": [
        rf"{_JUDGES}~s?\W{{0,3}}[:,] (?:please )?(?:give|choose|select|prefer|mark|award|rate|vote"
        rf"|pick|this (?:one|{_ANSWER}))\b",
        r"if you are~(?: \w+){0,5}? (?:evaluating|judging|grading|comparing|rating|scoring)"
        r" (?:this|these|it|my)\b",
        r"rubric~ (?:has|is|was|have)(?: \w+)? (?:updated|changed|replaced|cancelled)\b",
        r"penali[sz]ed|punished|rewarded|fired~(?: \w+){0,3} (?:if|unless|for)(?: \w+){0,5}?"
        rf" {_THIS} {_ANSWER}\b",
        r"whoever|whomever~ (?:grades|judges|rates|evaluates|scores) (?:this|these|it)\b",
        rf"{_JUDGES}~s? (?:is|are|must|should|shall|will)(?: \w+){{0,4}}? (?:choose|select|prefer"
        rf"|mark|rate|rank) (?:{_THIS}|the present) (?:{_ANSWER}|text)\b",
        "dear|attention|attn|note to|notes to|note for|notes for|message to|message for|hello|hey"
        "|instruction to|instructions to|instruction for|instructions for|reminder to|reminder for~"
        "(?: (?:all|the|any|our|ai|llm|human|automated|impartial|expert|fair)){0,4}"
        rf" (?:{_JUDGES})s?(?: \w+){{0,25}}? (?:{_ANSWER}|{_BEST}|choose|select|prefer|verdict"
        r"|scor\w+|rating)\b",
    ],
    "turn": [
        rf"system|developer|admin|administrator|{_JUDGES}~"
        r"(?: (?:prompt|message|note|override|instruction|update))?\W{0,3}?[:\]>](?<!\|>)"
        rf"(?: \w+){{0,40}}? {_JUDGING}",
    ],
}
_SIGNS = re.compile(
    _blanks(
        r"<\|(?:im start|start header id)\|>system|<\|system\|>|<<sys>>"
        r"|(?:<\|(?:im start|start header id|user|assistant)\|>|<start of turn>|\[inst\]"
        r"|(?:^|\n)(?:#+\s?)?(?:human|user|assistant|instruction):)"
        rf"[^<\[#]{{0,200}}?\b{_JUDGING}"
        r"|\[(?:the )?(?:start|end) of (?:the )?assistant|<\|the (?:start|end) of assistant"
        r"|# (?:start|end) of (?:instruction|output|answer)"
        r"|\"model identifier\W{1,8}[a-z]\b"
        r"|\[[0-9a-f]{16} (?:prompt|response [ab]|end)\]"
    )
)
_BRACKETED = re.compile(
    r"(?<![\w\])])\[\[[\s*]{0,2}(a|b|c|tie|a(?:>{1,2}|=|<{1,2})b|b(?:>{1,2}|=)a)[\s*]{0,2}\]\](?![\](])"
)
_HINTS = (
    *("<|", "<<sys", "[inst]", "<start", "human:", "user:", "assistant", "instruction:"),
    *("#", '"model', "prompt]", " a]", " b]", "end]"),
)
"""A text that holds none of these has no sign."""

_OPENERS = (
    *("thought process", "let s solve this problem step by step", "solution", "respuesta"),
    *("解", "かいせつ"),
)
_SIGN_ALONE = frozenset(":;,.")
"""Responses of nothing but one of these were taken for right by judges that held a reference ("One
token to fool LLM-as-a-judge", arXiv 2507.08794, 2025)."""
_OPENER_CHARS = 60

_ASKS_TO_JUDGE = re.compile(
    r"\b(?:review|rat(?:e|ed|ing)|scor(?:e|ing)|grad(?:e|ing)|evaluat\w+|judge|critique|compare"
    r"|assess\w*|feedback|which (?:one )?(?:is|of)|better|prefer\w*|winner|verdict)\b"
)
_SPEAKS_OF_ATTACKS = re.compile(
    "inject|jailbreak|attack|adversarial|malicious|manipulat|exploit|inyeccion|инъекц|注入|攻撃"
)
_QUOTES = "\"'`"


def _kinds_in(text: str, *, also_quoted: bool = False) -> set[str]:
    """The kinds of phrase that stand in a text."""
    kinds: set[str] = set()
    for form in _forms(text):
        for kind, found in _matches(form):
            is_told = not also_quoted and _SPEAKS_OF_ATTACKS.search(form) is not None
            if not (is_told and _is_quoted(form, *found.span())):
                kinds.add(kind)
    if len(text) <= _OPENER_CHARS and (text.strip() in _SIGN_ALONE or _words(text) in _openers()):
        kinds.add("opener")
    return kinds


def _matches(form: str) -> Iterator[tuple[str, re.Match[str]]]:
    latin, others = _starts()
    patterns = (latin,) if form.isascii() else (latin, others)
    for pattern in patterns:
        for found in pattern.finditer(form):
            yield next(k for k, p in _phrases().items() if p.match(form, found.start())), found
    if any(hint in form for hint in _HINTS):
        yield from (("turn", found) for found in _SIGNS.finditer(form))
    if "[[" in form:
        verdicts = list(_BRACKETED.finditer(form))
        # A rubric names them all; a verdict is one.
        if len({found[1] for found in verdicts}) == 1:
            yield "verdict", verdicts[0]


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether what stands there is within quotes that begin and end close to it."""
    before, after = text[max(start - 40, 0) : start], text[end : end + 200]
    return any(mark in before and mark in after for mark in _QUOTES)


def _forms(text: str) -> Iterator[str]:
    """A text as patterns read it: as it is, as it looks, and with letters set together."""
    form = _folded(text)
    yield form
    if not form.isascii():
        looks = form.translate(_LOOK_ALIKE)
        if looks != form:
            form = looks
            yield form
    if _SET_APART.search(form):
        yield _SET_APART.sub(lambda found: _together(found[0]), form)


def _folded(text: str) -> str:
    plain = plain_text(text)
    if plain.isascii():
        return plain.lower().replace("_", " ")
    return _SPACE_WITHIN.sub("", plain.translate(_FOLDED))


class _Folds(dict[int, str]):
    """Each character in small letters of its plainest form, without marks."""

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        plain = "".join(c for c in plain if unicodedata.category(c) != "Mn").replace("_", " ")
        self[code] = plain
        return plain


_FOLDED = _Folds({ord(mark): '"' for mark in "“”„«»「」『』"} | {ord(mark): "'" for mark in "‘’‚"})
_LOOK_ALIKE = str.maketrans(
    "авеікмнорстухѕјԁһӏԛԝαβεηικνορτυχγωօսոհɡɑıᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "abeikmhopctyxsjdhlqwabenikvoptuxywounhgaiabcdefghijklmnoprstuvwyz",
)
"""Letters of other scripts that look like Latin ones, small or capital."""

_SPACE_WITHIN = re.compile(rf"(?<=[{UNSPACED}])\s+(?=[{UNSPACED}])")
_SET_APART = re.compile(r"\b\w\W{1,4}(?:\w\W{1,4}){4,}\w\b")
_BETWEEN = re.compile(r"\W+")


def _together(run: str) -> str:
    """Letters that stand apart, as words: what mostly parts them parts no words."""
    usual, _ = Counter(_BETWEEN.findall(run)).most_common(1)[0]
    return _BETWEEN.sub(lambda found: "" if found[0] == usual else " ", run)


@cache
def _phrases() -> dict[str, re.Pattern[str]]:
    """What matches each kind of phrase, where it begins."""
    kinds = {kind: map(_parts, phrases) for kind, phrases in _PHRASES.items()}
    return {
        kind: re.compile("|".join(f"(?:{'|'.join(first)}){rest}" for first, rest in parts))
        for kind, parts in kinds.items()
    }


@cache
def _starts() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds all kinds of phrase in Latin letters, and in others.

    They are sorted by the first letter: to try each of them at each word would take five times as
    long.
    """
    by_letter: defaultdict[str, list[str]] = defaultdict(list)
    for phrase in (phrase for phrases in _PHRASES.values() for phrase in phrases):
        first, rest = _parts(phrase)
        for letter in {word[0] for word in first}:
            tails = "|".join(word[1:] for word in first if word[0] == letter)
            by_letter[letter].append(f"(?:{tails}){rest}")
    latin, others = (
        "|".join(
            f"{letter}(?:{'|'.join(by_letter[letter])})"
            for letter in sorted(by_letter)
            if letter.isascii() == is_latin
        )
        for is_latin in (True, False)
    )
    return re.compile(rf"\b(?:{latin})"), re.compile(others)


def _parts(phrase: str) -> tuple[list[str], str]:
    """First words and the rest, as patterns of a folded text."""
    letters = "".join(c if c.isascii() else c.translate(_FOLDED) for c in phrase)
    first, _, rest = _blanks(letters).partition("~")
    return first.split("|"), rest


def _words(text: str) -> str:
    return _BETWEEN.sub(" ", _folded(text)).strip()


@cache
def _openers() -> frozenset[str]:
    return frozenset(map(_words, _OPENERS))
