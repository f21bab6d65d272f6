"""PII: what is found, what must stay as it is, and that marks let a reader follow who is who."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from winnow.label.pii import KINDS, scrub, scrub_all

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
BASE64 = "MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8+/"
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BASE64}\nabc=\n-----END RSA PRIVATE KEY-----"

FOUND = [
    ("Write to ann.b+news@mail.site.org.", "Write to [email 1]."),
    ("联系我zhang@qq.com谢谢", "联系我[email 1]谢谢"),
    ("почта иван@почта.рф!", "почта [email 1]!"),
    ("https://ann:pass@site.org/", "https://ann:[key 1]@site.org/"),
    (
        "postgres://u:p%40ss@db/x, redis://:abc@h:6379",
        "postgres://u:[key 1]@db/x, redis://:[key 2]@h:6379",
    ),
    ("Mail o'brien@site.org, O’Brien@site.org.", "Mail [email 1], [email 1]."),
    ("x = 'ann@site.org', b'ann@site.org'", "x = '[email 1]', b'[email 1]'"),
    ('"ann lee"@site.org, mailto:bob%40site.org', "[email 1], mailto:[email 2]"),
    (
        "用户@例子.公司谢谢, a@xn--fsqu00a.xn--55qx5d or a@例子.公司",
        "[email 1]谢谢, [email 2] or [email 2]",
    ),
    (
        "उपयोगकर्ता@उदाहरण.भारत, مستخدم@مثال.مصر، jose\u0301@mañana.es",
        "[email 1], [email 2]، [email 3]",
    ),
    ("메일은 ann@site.org입니다. 名前@例え.みんな", "메일은 [email 1]입니다. [email 2]"),
    ("发到ann@site。com吧。Bob@site.org。Thanks", "发到[email 1]吧。[email 2]。Thanks"),
    ("ＴＥＬ03-1234-5678, TEL 03ー1234ー5678", "ＴＥＬ[phone 1], TEL [phone 1]"),
    ("（０３）１２３４−５６７８", "[phone 1]"),
    ("电话：１３８１２３４５６７８，2017年", "电话：[phone 1]，2017年"),
    ("ring 650·253·0000—24 hours", "ring [phone 1]—24 hours"),
    ("SSN—123-45-6789²", "SSN—[ssn 1]²"),
    ("gb82 west 1234 5698 7654 32 is mine", "[iban 1] is mine"),
    ("in it12 de89-3704-0044-0532-0130-00", "in it12 [iban 1]"),
    ("⁴¹¹¹ ¹¹¹¹ ¹¹¹¹ ¹¹¹¹, 4111.1111.1111.1111", "[card 1], [card 1]"),
    ("host 98.6.77.12 up\n98.6.77.13 down", "host [ip 1] up\n[ip 2] down"),
    ("98.6.77.12:22", "[ip 1]:22"),
    ("HOST=98.6.77.12", "HOST=[ip 1]"),
    ("ssh ann@98.6.77.12", "ssh ann@[ip 1]"),
    ("IP：2001:db8::1", "IP：[ip 1]"),
    ("the key—AKIAIOSFODNN7EXAMPLE—is", "the key—[key 1]—is"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [key 1]"),
    ("+44 20 7946 0958, please", "[phone 1], please"),
    ("+1 (555) 123-4567", "[phone 1]"),
    ("(650) 253-0000 or 650.253.0000", "[phone 1] or [phone 1]"),
    ("Ruf 030 1234567 an", "Ruf [phone 1] an"),
    ("06 12 34 56 78", "[phone 1]"),
    ("138 1234 5678", "[phone 1]"),
    ("电话：13812345678谢谢", "电话：[phone 1]谢谢"),
    ("My phone number is 5551234.", "My phone number is [phone 1]."),
    ("4111 1111 1111 1111, 4111111111111111", "[card 1], [card 1]"),
    ("3782-822463-10005", "[card 1]"),
    ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN [iban 1] BIC COBADEFF"),
    ("GB82WEST12345698765432", "[iban 1]"),
    ("SSN 123-45-6789, or ssn: 123456789", "SSN [ssn 1], or ssn: [ssn 1]"),
    ("from 84.12.3.99:8080 and 10.20.30.40", "from [ip 1]:8080 and [ip 2]"),
    ("2001:0DB8::1 is 2001:db8:0::1", "[ip 1] is [ip 1]"),
    (f"token {JWT}.", "token [key 1]."),
    ("AKIAIOSFODNN7EXAMPLE", "[key 1]"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key 1]"),
    ("sk-proj-abcdEFGH1234567890abcdEFGH1234", "[key 1]"),
    ('api_key = "abc123def456ghi789"', 'api_key = "[key 1]"'),
    ("Authorization: Bearer abcdefghijklmnopqrst1234", "Authorization: Bearer [key 1]"),
    (f"a\n{PRIVATE_KEY}\nb", "a\n[key 1]\nb"),
    (f"{PRIVATE_KEY}123-45-6789", "[key 1][ssn 1]"),
    (f"-----BEGIN PRIVATE KEY-----\n{BASE64}\n{BASE64}\ncut off", "[key 1]\ncut off"),
    (f"'-----BEGIN PRIVATE KEY-----\\n{BASE64}\\n' + end", "'[key 1]\\n' + end"),
]

LEFT = [
    "version 10.0.19041.1, v1.22.3.41, Chrome/91.10.44.12, numpy==1.26.4.12",
    "127.0.0.1, 0.0.0.0, 255.255.255.0, 10.0.0.0/8, 8.8.8.8, 1.2.3.4, 300.1.1.10",
    "1.3.6.1.4.1.311.10 and section 12.10.44.13",
    "12:30:45, std::vector, dead::beef, aa:bb:cc:dd:ee:ff",
    "ISBN 978-3-16-148410-0, 0-306-40615-2, 9783161484100",
    "2024-01-02, 01-02-2024, 02.03.2021, 1984-2000, phone 2024-01-02",
    "3.141592653589793238 and 1,234,567,890,123,456",
    "100 000 000 or 1162261467 or 13812345678 or 1234567890123456",
    "4111 1111 1111 1112 has a wrong last digit, 1234567812345670 no issuer",
    "4212883012996 and 4212 8830 1299 6 have the length of cards that are issued no more",
    "DE88 3704 0044 0532 0130 00 has wrong check digits",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567",
    "1-800-273-8255 and phone: 1-800-273-8255",
    "git@github.com:org/repo, logo@2x.png, @property, a @ b",
    "sk-learn-based-estimators-and-more, token: your_token_goes_here, password = get_password(10)",
    "eyJ and AKIA and -----BEGIN CERTIFICATE-----",
    "from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----",
    "f(x) = x^2 + 12 - 34 / 56 and [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]",
    "550e8400-e29b-41d4-a716-446655440000, 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "score 98.6.77.12, see 3.12.44.13, Foo 2.5.29.46 (3.1.4.22), Release 10.0.0.5",
    "In 2017 numbers: 0123 4567; 0123 45678, 1984–2000, phone 2017—2018, Boston, MA 02110-1301",
    "tool@v0.0.1-go1.26.8.darwin, lodash@4.17.21, x@self.weight, A@B.transpose(0), ann@host:~$",
    "你好@小明。今天天气好。Hello, @ann。Thanks",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
    "https://${USER}:${PASSWORD}@host, https://<user>:<password>@host, https://host:8080/@ann",
    "hf_your_token_goes_here_please, xai-explainable-methods-of-2023, basic BranchPythonOperator",
    r"\frac{1}{2} x_{12}^{34}, 10¹² and 2²³, ①②③ ½, $E = mc^2$, @app.route('/x')",
    "https://books.site.org/?id=1&source=bl&sig=ACfU3U347k2X1eL2jwmEtI91Iu2Pqy47Q&hl=en",
    "[email 1] and [phone 12]",
]


@pytest.mark.parametrize(("text", "scrubbed"), FOUND)
def test_pii_is_replaced(text: str, scrubbed: str) -> None:
    got, counts = scrub(text)
    assert got == scrubbed
    assert counts.total() == scrubbed.count("[")
    assert scrub(got) == (got, Counter())


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert scrub(text) == (text, Counter())


def test_one_value_has_one_mark_in_all_texts_read_together() -> None:
    texts = ["ann@a.org met bob@a.org", "BOB@A.ORG wrote ann@a.org", "call +1 650-253-0000"]
    scrubbed, counts = scrub_all(texts)
    assert scrubbed == [
        "[email 1] met [email 2]",
        "[email 2] wrote [email 1]",
        "call [phone 1]",
    ]
    assert counts == {"email": 4, "phone": 1}
    assert set(counts) < set(KINDS)


_SCRIPTS = st.text(
    st.characters(exclude_categories=("Cs", "Nd"), exclude_characters="@:="), max_size=80
)


@given(_SCRIPTS)
def test_a_text_in_any_script_without_pii_comes_back_as_it_is(text: str) -> None:
    assert scrub(text) == (text, Counter())


_PIECES = st.sampled_from([text for text, _ in FOUND] + LEFT + list(" \n.,-:/+1@a0[]")) | st.text(
    max_size=5
)


@given(st.lists(_PIECES, max_size=6).map("".join))
@example("a@b.com4111111111111111")
@example("+1 650-253-0000 650-253-0000 0000")
@settings(max_examples=300)
def test_scrubbing_twice_changes_nothing_more(text: str) -> None:
    once, _ = scrub(text)
    assert scrub(once) == (once, Counter())


@given(
    st.sampled_from([text for text, _ in FOUND]),
    st.text("Aé中我あк \n(\"'", max_size=10),
    st.text("é中我あ \n)\"'!", max_size=10),
)
def test_pii_is_found_between_other_words(text: str, before: str, after: str) -> None:
    around = f"{before} {text} {after}"
    assert scrub(around)[0] == f"{before} {scrub(text)[0]} {after}"


_HEX, _LETTERS = "0123456789abcdef", "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_OF_64 = _LETTERS + "0123456789_-"


def _of(alphabet: str, n: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(alphabet), min_size=n, max_size=n)


def _told(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda drawn: template.format(*drawn))


_UUID = _told("{}-{}-{}", _of(_HEX, 8), _of(_HEX, 4), _of(_HEX, 12))
_ENDS = _of("Aa1", 1)
KEYS = {
    "aws": _told("AKIA{}", _of("ABCDEFGHIJKL234567", 16)),
    "github": _told("gho_{}", _of(_LETTERS, 36)),
    "github, fine-grained": _told("github_pat_{}7_{}", _of(_LETTERS, 21), _of(_LETTERS, 59)),
    "gitlab": _told("glpat-A{}{}", _of(_OF_64, 18), _ENDS),
    "hugging face": _told("hf_{}", _of(_LETTERS, 34)),
    "openai": _told("sk-proj-{}7{}{}", _of(_OF_64, 20), _of(_OF_64, 100), _ENDS),
    "anthropic": _told("sk-ant-api03-{}7{}AA", _of(_OF_64, 20), _of(_OF_64, 72)),
    "google": _told("AIza{}{}", _of(_OF_64, 34), _ENDS),
    "stripe": _told("rk_live_{}", _of(_LETTERS, 24)),
    "slack": _told("xoxb-1234567890123-{}", _of(_LETTERS, 24)),
    "slack webhook": _told("https://hooks.slack.com/services/T0/B0/{}", _of(_LETTERS, 24)),
    "discord webhook": _told(
        "https://discord.com/api/webhooks/123456789012345678/{}{}", _of(_OF_64, 67), _ENDS
    ),
    "discord": _told("M{}.{}.{}{}", _of(_LETTERS, 23), _of(_LETTERS, 6), _of(_OF_64, 26), _ENDS),
    "teams webhook": _told(
        "https://firm.webhook.office.com/webhookb2/{}@{}/IncomingWebhook/{}/{}",
        *(_UUID, _UUID, _of(_HEX, 32), _UUID),
    ),
    "sendgrid": _told("SG.{}.{}{}", _of(_OF_64, 22), _of(_OF_64, 42), _ENDS),
    "azure directory": _told("{}8Q~{}{}", _of(_LETTERS, 3), _of(_OF_64, 33), _ENDS),
    "npm": _told("npm_{}", _of(_LETTERS, 36)),
    "pypi": _told("pypi-AgEIcHlwaS5vcmc{}{}", _of(_OF_64, 150), _ENDS),
    "twilio": _told("SK{}", _of(_HEX, 32)),
    "mailgun": _told("key-{}", _of(_HEX, 32)),
    "digitalocean": _told("dop_v1_{}", _of(_HEX, 64)),
    "databricks": _told("dapi{}", _of(_HEX, 32)),
    "telegram": _told("1234567890:AA{}{}", _of(_OF_64, 32), _ENDS),
    "putty": _told(
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 1\n{}\n"
        "Private-Lines: 2\n{}\n{}\nPrivate-MAC: {}",
        *(_of(_LETTERS, 64), _of(_LETTERS, 64), _of(_LETTERS, 20), _of(_HEX, 64)),
    ),
}
ASSIGNED = [
    ("AccountName=x;AccountKey={};EndpointSuffix=core", _told("{}7==", _of(_LETTERS, 85))),
    ("https://x.net/c?sv=2022&sig={}&sr=c", _told("{}%3D", _of(_LETTERS, 43))),
    ('AZURE_OPENAI_API_KEY="{}"', _told("a7{}", _of(_HEX, 30))),
    ("api key: “{}”", _told("a7{}", _of(_HEX, 30))),
    ("aws_secret_access_key = {}", _told("a7/{}", _of(_LETTERS + "+/", 37))),
    (
        "https://ann:{}@files.site.org",
        _of(_LETTERS + "!%&", 9).map(lambda p: p.replace("%", "%25")),
    ),
]


@pytest.mark.parametrize("service", KEYS)
@given(st.data())
@settings(max_examples=30)
def test_keys_of_services_are_found(service: str, data: st.DataObject) -> None:
    key = data.draw(KEYS[service])
    assert scrub(f"use {key} now") == ("use [key 1] now", {"key": 1})


@pytest.mark.parametrize(("around", "secrets"), ASSIGNED)
@given(st.data())
@settings(max_examples=30)
def test_secrets_are_found_by_what_stands_around(
    around: str, secrets: st.SearchStrategy[str], data: st.DataObject
) -> None:
    secret = data.draw(secrets)
    assert scrub(around.format(secret))[0] == around.format("[key 1]")


def _in_digits_from(zero: str) -> Callable[[str], str]:
    return lambda text: "".join(chr(ord(zero) + int(c)) if "0" <= c <= "9" else c for c in text)


def _wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _with(sign: str, other: str) -> Callable[[str], str]:
    return lambda text: text.replace(sign, other)


_HIDDEN = ("\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u200e", "\u202e", "\ufe0f")
_BLANKS = ("\u00a0", "\u202f", "\u2009", "\u3000")
_DASHES = ("\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\uff0d")
WRITINGS = [
    _wide,
    lambda text: _wide(text[: len(text) // 2]) + text[len(text) // 2 :],
    lambda text: "".join(c if c.isalnum() else _wide(c) for c in text),
    *map(_in_digits_from, "٠۰०০๐０𝟎𝟢"),
    *(hidden.join for hidden in _HIDDEN),
    *(_with(" ", blank) for blank in _BLANKS),
    *(_with("-", dash) for dash in _DASHES),
]
PEOPLES = [
    ("email", "ann.lee+7@site2.org"),
    ("email", "o'brien@site.co.uk"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "+1 (650) 253-0000"),
    ("phone", "650-253-0000"),
    ("phone", "030 1234567"),
    ("card", "4111 1111 1111 1111"),
    ("card", "5500-0000-0000-0004"),
    ("card", "378282246310005"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "gb82-west-1234-5698-7654-32"),
    ("ssn", "123-45-6789"),
    ("ip", "84.12.3.199"),
]


@pytest.mark.parametrize(("kind", "plain"), PEOPLES)
@pytest.mark.parametrize("write", WRITINGS)
def test_other_writings_of_a_value_share_its_mark(
    write: Callable[[str], str], kind: str, plain: str
) -> None:
    texts = [f"It is {plain}, ok", f"是 {write(plain)}, ok"]
    assert scrub_all(texts)[0] == [f"It is [{kind} 1], ok", f"是 [{kind} 1], ok"]


@pytest.mark.parametrize("write", [str.upper, str.lower, str.title])
@pytest.mark.parametrize("plain", ["Ann@Site.org", "Gb82 West 1234 5698 7654 32"])
def test_letters_of_either_case_are_one_value(write: Callable[[str], str], plain: str) -> None:
    marked = scrub_all([plain, write(plain)])[0]
    assert marked[0] == marked[1] != plain


_AROUND = st.text("ﬁ①½ツ中é…“”—，。　\u200b\u00a0𝔞é🙂\n ", max_size=12)


@given(_AROUND, st.sampled_from(PEOPLES), st.sampled_from(WRITINGS), _AROUND)
def test_what_is_around_a_find_stays_as_it_was(
    before: str, value: tuple[str, str], write: Callable[[str], str], after: str
) -> None:
    kind, plain = value
    text = f"{before}\n{write(plain)}\n{after}"
    assert scrub(text)[0] == f"{before}\n[{kind} 1]\n{after}"


@given(st.lists(st.sampled_from(range(100)), min_size=4, max_size=4))
def test_four_small_numbers_are_a_host_only_where_the_text_says_so(numbers: list[int]) -> None:
    quad = ".".join(str(number) for number in numbers)
    if numbers[0] != 10:
        assert scrub(f"The result {quad}\nand item ({quad})")[1] == {}
    if numbers[0] and numbers[3] and max(numbers) > 9:
        assert scrub(f"ping {quad} or http://{quad}/")[0] == "ping [ip 1] or http://[ip 1]/"


HARD_PARTS = (
    "a", "1", "1 ", "1-", "a.", "a@", "a@a.", "0:", "1.1.", "A1", "eyJa.", "+1 ", "phone 1", "=",
    "a@b.co ", "123-45-6789 ", "-----BEGIN PRIVATE KEY-----", "key=a1", "sk-a-", "(1) ", "Bearer a",
    "用", "用@用.", "@a。", "a'", '"@', "a%40a.", "://a:", "://a:b@", "eyJaaaaaaaa.eyJ", "SG.a",
    "hf_", "&sig=a", "PuTTY-User-Key-File-2:\n", "-----BEGIN PRIVATE KEY-----\nA: b\n", "A" * 16,
    "Basic aaaaaaaa ", "gb82 ", "10.0.0.1 ", "ip 1.2.3.14 ", "\u200b", "①", "Ａa", "٠", "हि", "f::",
    "a@xn--a.", "1234567:A", "token=", "(03) ", "ssn 1", "hooks.slack.com/services/",
)  # fmt: skip


@pytest.mark.parametrize("part", HARD_PARTS)
def test_the_work_grows_with_the_length_of_a_text_not_with_its_square(part: str) -> None:
    short, long = (part * (n // len(part)) for n in (2_000, 32_000))
    work = min(_seconds(long) / max(_seconds(short), 1e-3) for _ in range(3))
    assert work < 64, "16 times the text took 64 times the work; a square is 256 times"


def _seconds(text: str) -> float:
    start = time.process_time()
    scrub(text)
    return time.process_time() - start


def test_reading_a_dag_file_does_not_load_the_phone_plans() -> None:
    code = (
        "import sys, winnow.label.tasks; "
        "sys.exit(any(name in sys.modules for name in ('phonenumbers', 'stdnum')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
