"""PII: what is found, what must stay as it is, and that marks let a reader follow who is who."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

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
    ("https://ann:pass@site.org/", "https://ann:[email 1]/"),
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
    "DE88 3704 0044 0532 0130 00 has wrong check digits",
    "000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567",
    "1-800-273-8255 and phone: 1-800-273-8255",
    "git@github.com:org/repo, logo@2x.png, @property, a @ b",
    "sk-learn-based-estimators-and-more, token: your_token_goes_here, password = get_password(10)",
    "eyJ and AKIA and -----BEGIN CERTIFICATE-----",
    "from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY----- or -----BEGIN PRIVATE KEY-----",
    "f(x) = x^2 + 12 - 34 / 56 and [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]",
    "550e8400-e29b-41d4-a716-446655440000",
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


HARD_PARTS = (
    "a", "1", "1 ", "1-", "a.", "a@", "a@a.", "0:", "1.1.", "A1", "eyJa.", "+1 ", "phone 1", "=",
    "a@b.co ", "123-45-6789 ", "-----BEGIN PRIVATE KEY-----", "key=a1", "sk-a-", "(1) ", "Bearer a",
)  # fmt: skip


@pytest.mark.parametrize("part", HARD_PARTS)
def test_no_text_takes_long(part: str) -> None:
    text = part * (40_000 // len(part))
    start = time.process_time()
    scrub(text)
    assert time.process_time() - start < 2.0


def test_reading_a_dag_file_does_not_load_the_phone_plans() -> None:
    code = (
        "import sys, winnow.label.tasks; "
        "sys.exit(any(name in sys.modules for name in ('phonenumbers', 'stdnum')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
