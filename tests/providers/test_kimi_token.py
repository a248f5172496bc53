"""Kimi tokens in every form of connect sheet §2.4 and legacy sheet §2."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kimi_proxy.providers import kimi_token
from kimi_proxy.providers.base import Credential


def jwt(**claims: Any) -> str:
    parts = [{"alg": "HS512", "typ": "JWT"}, claims]
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in parts
    ]
    return ".".join((*encoded, "made-up_signature"))


USER = {"app_id": "kimi", "sub": "fakeuser000000000001"}
ACCESS = jwt(
    typ="access", exp=1_800_000_900, device_id="7012", ssid="1734", region="cn", **USER
)
REFRESH = jwt(typ="refresh", exp=1_807_000_000, **USER)
BOTH = {"access_token": ACCESS, "refresh_token": REFRESH}
CAMEL = {"accessToken": ACCESS, "refreshToken": REFRESH}

ONE = {
    "bare": "{}",
    "quoted": '"{}"',
    "single quotes": " '{}' \n",
    "bearer": "Bearer {}",
    "header": "Authorization: Bearer {}",
    "curl": "-H 'authorization: bearer {}' \\",
    "assignment": "token={}",
    "environment": 'export KIMI_TOKEN="{}"',
    "yaml": "token: {}",
    "json string": '"\\"{}\\""',
    "json list": '["{}"]',
    "sentence": "my token is {}.",
    "comma behind": "{},",
}


@pytest.mark.parametrize("form", ONE.values(), ids=ONE)
@pytest.mark.parametrize("token", [ACCESS, REFRESH], ids=["access", "refresh"])
def test_one_token_is_read_in_every_form(form: str, token: str) -> None:
    credential = kimi_token.read(form.replace("{}", token))
    found = (token, None) if token is ACCESS else (None, token)
    assert (credential.access, credential.refresh) == found


TWO = {
    "comma": f"{ACCESS},{REFRESH}",
    "comma, reversed": f"{REFRESH}, {ACCESS}",
    "space": f"{ACCESS} {REFRESH}",
    "newline": f"{ACCESS}\n{REFRESH}\n",
    "list": json.dumps([ACCESS, REFRESH]),
    "snake": json.dumps(BOTH),
    "camel": json.dumps(CAMEL),
    "nested": json.dumps({"state": {"auth": CAMEL}, "version": 3}),
    "dump": json.dumps({"theme": "dark", "n": 1, "x": None, **BOTH}, indent=2),
    "json in json": json.dumps({"persist:auth": json.dumps({"v": json.dumps(BOTH)})}),
    "quoted values": json.dumps({k: f'"{v}"' for k, v in BOTH.items()}),
    "exported cookies": json.dumps(
        [
            {"name": "kimi-auth", "value": ACCESS},
            {"name": "refresh_token", "value": REFRESH},
        ]
    ),
    "lines": f"access_token={ACCESS}\nrefresh_token={REFRESH}\n",
    "env lines": f"KIMI_ACCESS_TOKEN='{ACCESS}'\nKIMI_REFRESH_TOKEN='{REFRESH}'",
    "table": f"access_token\t{ACCESS}\nrefresh_token\t{REFRESH}\ntheme\tdark",
    "broken json": f'{{"access_token": "{ACCESS}", "refresh_token": "{REFRESH}",}}',
}


@pytest.mark.parametrize("text", TWO.values(), ids=TWO)
def test_both_tokens_are_read_in_every_form(text: str) -> None:
    credential = kimi_token.read(text)
    assert (credential.access, credential.refresh) == (ACCESS, REFRESH)


HEADER, PAYLOAD, SIGNATURE = REFRESH.split(".")
PARTS = {
    "json array": json.dumps([HEADER, PAYLOAD, SIGNATURE]),
    "json array under its key": json.dumps(
        {"refresh_token": [HEADER, PAYLOAD, SIGNATURE]}
    ),
    "json array as text": json.dumps(json.dumps([HEADER, PAYLOAD, SIGNATURE])),
    "json object": json.dumps({"0": HEADER, "1": PAYLOAD, "2": SIGNATURE}),
    "viewer": f'0: "{HEADER}"\n1: "{PAYLOAD}"\n2: "{SIGNATURE}"',
    "spaces": f"{HEADER} {PAYLOAD} {SIGNATURE}",
    "commas": f"{HEADER}, {PAYLOAD}, {SIGNATURE}",
    "lines": f"{HEADER}\n{PAYLOAD}\n{SIGNATURE}\n",
    "dots left": f"{HEADER}.\n{PAYLOAD}.\n{SIGNATURE}",
    "single quotes": f"['{HEADER}', '{PAYLOAD}', '{SIGNATURE}']",
}


@pytest.mark.parametrize("text", PARTS.values(), ids=PARTS)
def test_a_token_taken_apart_is_joined(text: str) -> None:
    assert kimi_token.read(text).refresh == REFRESH


COOKIES = {
    "alone": f"kimi-auth={ACCESS}",
    "header": f"Cookie: _ga=GA1.2.3; kimi-auth={ACCESS}; theme=dark",
    "foreign": f"sid={jwt(uid=1)}; kimi-auth={ACCESS}; other={jwt(sub='somebody')}",
    "netscape": f".kimi.com\tTRUE\t/\tTRUE\t1790000000\tkimi-auth\t{ACCESS}",
}


@pytest.mark.parametrize("text", COOKIES.values(), ids=COOKIES)
def test_the_kimi_cookie_is_found_in_any_jar(text: str) -> None:
    credential = kimi_token.read(text)
    assert (credential.access, credential.refresh) == (ACCESS, None)


def test_claims_become_facts_of_the_credential() -> None:
    credential = kimi_token.read(f"{ACCESS} {REFRESH}")
    assert credential == Credential(
        access=ACCESS,
        refresh=REFRESH,
        access_expires=1_800_000_900,
        refresh_expires=1_807_000_000,
        region="cn",
        subject="fakeuser000000000001",
        device="7012",
        session="1734",
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (jwt(typ="refresh"), "refresh"),
        (jwt(typ="access", app_id="other"), "access"),
        (jwt(app_id="kimi"), "refresh"),
        (f"access_token={jwt(app_id='kimi')}", "access"),
        (f"kimi-auth={jwt(app_id='kimi')}", "access"),
        (f"access_token={REFRESH}", "refresh"),
    ],
    ids=["typ", "typ of any app", "no typ", "key", "cookie", "typ beats key"],
)
def test_typ_decides_then_the_key_then_the_legacy_rule(text: str, kind: str) -> None:
    credential = kimi_token.read(text)
    held = {"access": credential.access, "refresh": credential.refresh}
    assert [name for name, token in held.items() if token is not None] == [kind]


@pytest.mark.parametrize(
    ("claims", "region"),
    [
        ({}, "cn"),
        ({"region": "cn"}, "cn"),
        ({"region": "overseas"}, "overseas"),
        ({"region": "REGION_OVERSEA"}, "overseas"),
        ({"region": "moon"}, "cn"),
        ({"aud": ["kimi.ai"]}, "overseas"),
        ({"aud": "https://www.kimi.ai/"}, "overseas"),
        ({"aud": ["kimi.com"], "region": "overseas"}, "cn"),
        ({"aud": ["kimi.ai", "kimi.com"], "region": "overseas"}, "overseas"),
        ({"aud": ["kimi"], "region": "overseas"}, "overseas"),
        ({"iss": "https://auth.kimi.ai"}, "overseas"),
        ({"aud": ["notkimi.ai"]}, "cn"),
        ({"aud": {"kimi.ai": 1}, "region": 7}, "cn"),
    ],
)
def test_the_region_is_read_from_the_token(claims: dict[str, Any], region: str) -> None:
    assert kimi_token.read(jwt(typ="access", **claims)).region == region


def test_a_given_region_overrides_the_token() -> None:
    assert kimi_token.read(ACCESS, "overseas").region == "overseas"
    with pytest.raises(ValueError, match="cn or overseas"):
        kimi_token.read(ACCESS, "moon")


@pytest.mark.parametrize("exp", [True, "1800000000", -1, 0, 10**15, None, [1]])
def test_a_strange_expiry_is_unknown(exp: object) -> None:
    assert kimi_token.read(jwt(typ="access", exp=exp)).access_expires is None


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "", "ü", "x" * 300, True, 1.5, []])
def test_a_claim_that_no_header_can_carry_is_dropped(value: object) -> None:
    credential = kimi_token.read(
        jwt(typ="access", device_id=value, ssid=value, sub=value)
    )
    assert (credential.device, credential.session, credential.subject) == (None,) * 3


def test_of_two_copies_the_one_that_lives_longer_counts() -> None:
    older = jwt(typ="access", exp=1_700_000_000, **USER)
    dump = json.dumps({"kimi-auth": older, "access_token": ACCESS})
    assert kimi_token.read(dump).access == ACCESS


def test_tokens_of_two_accounts_are_refused() -> None:
    other = jwt(typ="refresh", sub="fakeuser000000000002")
    with pytest.raises(ValueError, match="different accounts"):
        kimi_token.read(f"{REFRESH},{other}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no token"),
        (" \n", "no token"),
        ("hello", "no Kimi token"),
        ("sk-madeupmadeupmadeup", "API key"),
        ("Authorization: Bearer sk-madeup", "API key"),
        ('{"access_token": null}', "no Kimi token"),
        ("[1, 2, 3]", "no Kimi token"),
        ("a.b.c", "no Kimi token"),
        (ACCESS[:40], "no Kimi token"),
        ("eyJhbGciOiJIUzUxMiJ9.damaged.signature", "damaged"),
        ("[" * 5000, "no Kimi token"),
        ("x" * 2_000_000, "too long"),
    ],
)
def test_what_is_no_token_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kimi_token.read(text)


PIECES = st.sampled_from(
    [
        *(ACCESS, REFRESH, *ACCESS.split("."), "eyJ", ".", "=", ":", '"', "Bearer "),
        *("access_token", "kimi-auth", "sk-", "{", "}", "[", "]", ",", " ", "\\", "é"),
    ]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
@example('{"a":' * 200)
@example("eyJ" * 1000)
def test_anything_else_than_a_value_error_never_comes_out(text: str) -> None:
    try:
        credential = kimi_token.read(text)
    except ValueError as exc:
        seen, shown = exc, ""
        while seen is not None:
            shown += f"{seen!r} {vars(seen)}"
            seen = seen.__cause__ or seen.__context__
        leaked = [part for part in ACCESS.split(".") if part in shown]
        assert not leaked
        return
    assert credential.access or credential.refresh
    assert all(part not in repr(credential) for part in (ACCESS, REFRESH))


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), PIECES),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.text(max_size=14) | PIECES, inner, max_size=4),
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        kimi_token.read(json.dumps(value))
    except ValueError as exc:
        assert ACCESS not in str(exc)


NEW_ACCESS = jwt(typ="access", exp=1_800_009_000)
NEW_REFRESH = jwt(typ="refresh", exp=1_809_000_000)


@pytest.mark.parametrize(
    "answer",
    [
        {"accessToken": NEW_ACCESS, "refreshToken": NEW_REFRESH},
        {"access_token": NEW_ACCESS, "refresh_token": NEW_REFRESH},
        {"data": {"accessToken": NEW_ACCESS, "refreshToken": NEW_REFRESH}},
        {"data": {"access_token": NEW_ACCESS, "refresh_token": NEW_REFRESH}},
    ],
)
def test_a_renewed_credential_keeps_what_the_new_tokens_do_not_say(
    answer: object,
) -> None:
    old = kimi_token.read(f"{ACCESS} {REFRESH}")
    assert kimi_token.renewed(old, answer) == Credential(
        access=NEW_ACCESS,
        refresh=NEW_REFRESH,
        access_expires=1_800_009_000,
        refresh_expires=1_809_000_000,
        region="cn",
        subject=old.subject,
        device="7012",
        session="1734",
    )


def test_without_a_new_refresh_token_the_old_one_stays() -> None:
    renewed = kimi_token.renewed(kimi_token.read(REFRESH), {"accessToken": NEW_ACCESS})
    assert (renewed.refresh, renewed.refresh_expires) == (REFRESH, 1_807_000_000)


def test_new_claims_replace_old_ones() -> None:
    fresh = jwt(typ="access", device_id="99", ssid="98", sub="fakeuser000000000001")
    renewed = kimi_token.renewed(kimi_token.read(ACCESS), {"access_token": fresh})
    assert (renewed.device, renewed.session) == ("99", "98")


def test_a_rotated_token_that_is_no_jwt_is_not_thrown_away() -> None:
    answer = {"accessToken": "opaque-made-up", "refreshToken": "opaque-too"}
    renewed = kimi_token.renewed(kimi_token.read(REFRESH), answer)
    assert (renewed.access, renewed.refresh) == ("opaque-made-up", "opaque-too")
    assert (renewed.access_expires, renewed.refresh_expires) == (None, None)


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], {}, {"data": None}, {"accessToken": ""}, {"accessToken": 5}),
        *({"refreshToken": NEW_REFRESH}, {"accessToken": "with\r\nbreaks"}),
    ],
)
def test_an_answer_without_access_token_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="no access token"):
        kimi_token.renewed(kimi_token.read(REFRESH), answer)
