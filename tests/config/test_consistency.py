"""What is right by itself may still not fit together."""

from __future__ import annotations

import pytest

from kimi_proxy.config import ConfigError, load
from kimi_proxy.config.consistency import findings
from tests.config.conftest import KIMI, Desk

ECHO = "providers: {e: {type: echo}}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("state: memory://", "1: providers: is required and must not be empty"),
        ("providers: {}", "1: providers: needs at least one provider"),
        (
            "keys:\n- {name: a, key: x1}\n- {name: a, key: x2}\n" + ECHO,
            "3: keys[1].name: is the name of entry [0] too: names are unique",
        ),
        (
            "keys:\n- {name: a, key: x1}\n- {name: b, key: ' x1 '}\n" + ECHO,
            "3: keys[1].key: 'a' and 'b' are the same key",
        ),
        (
            ECHO + "\nkeys: [{name: a, key: x1}]\nadmin: {key: x1}",
            "3: admin.key: is also the client key 'a': use another",
        ),
        (
            "providers:\n  k:\n    type: kimi\n    tokens: [{name: '2', token: a}, b]",
            "4: providers.k.tokens[1].name: is the name of entry [0] too:"
            " names are unique",
        ),
        (
            "providers:\n  k:\n    type: kimi\n    tokens: [a, {name: x, token: a}]",
            "4: providers.k.tokens[1].token: '1' and 'x' are the same token",
        ),
        (
            ECHO + "\nmodels:\n  m: [e/x, other/x]",
            "3: models.m[1]: names a provider that is not configured",
        ),
        (
            ECHO + "\nmodels:\n  m:\n    route:\n    - e/x\n    - other/x",
            "6: models.m.route[1]: names a provider that is not configured",
        ),
        (
            ECHO + "\nmodels:\n  e/x: e/y",
            "3: models.e/x: hides that provider's own model of this name",
        ),
        (
            ECHO + "\npass_through: {provider: e}",
            "2: pass_through.provider: must name a provider of type kimi",
        ),
        (
            ECHO + "\npass_through: {provider: other}",
            "2: pass_through.provider: names a provider that is not configured",
        ),
        (
            ECHO + "\nrelay: {provider: e}",
            "2: relay.provider: must name a provider of type openai",
        ),
        (
            ECHO + "\nrelay: {provider: other}",
            "2: relay.provider: names a provider that is not configured",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(
    desk: Desk, text: str, problem: str
) -> None:
    assert desk.problems(text) == [problem]


def test_a_pools_longest_rest_is_named_beside_whatever_else_is_wrong(
    desk: Desk,
) -> None:
    text = """
    providers:
      k:
        type: kimi
        tokens: [a]
        pool:
          cooldown: "60"
          max_cooldown: 5
          wait: -1
      o:
        type: openai
        base_url: http://h/v1
        tokens: [a]
        pool: {cooldown: 3600}
      shapeless: {type: kimi, tokens: [b], pool: {cooldown: [1], max_cooldown: x}}
    """
    first, second, third, *_ = desk.problems(text)
    assert first == "8: providers.k.pool.max_cooldown: must not be below cooldown"
    assert second == "9: providers.k.pool.wait: must be at least 0"
    assert third == (
        "14: providers.o.pool.cooldown: must not be above max_cooldown,"
        " which is 1800 unless given"
    )


def test_a_key_in_two_places_is_told_by_names_only(desk: Desk) -> None:
    text = f"keys: [{{name: a, key: made-up-1}}, {{name: b, key: made-up-1}}]\n{KIMI}"
    assert "made-up-1" not in str(desk.error(text))


def test_pass_through_alone_needs_no_token_of_ones_own(desk: Desk) -> None:
    text = "providers: {k: {type: kimi}}\npass_through: {provider: k}"
    settings = desk.load(text)
    assert settings.pass_through is not None
    assert settings.pass_through.provider == "k"


def test_an_alias_may_look_like_a_path_of_nobody(desk: Desk) -> None:
    assert (
        "moonshotai/kimi"
        in desk.load(f"{ECHO}\nmodels: {{moonshotai/kimi: e/x}}").models
    )


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {"providers": {"e": 3}, "keys": 3, "models": [], "admin": "x"},
        {"providers": {"e": {"type": [], "tokens": {}}}, "keys": [1, None, {}]},
        {"providers": {"e": {"tokens": [1, {}, None]}}, "models": {"a": None, "b": 1}},
        {"providers": {"e": {}}, "models": {"a": {"route": 1}, "b": [1]}},
        {"providers": {"e": {}}, "pass_through": [], "keys": [{"name": 1, "key": 2}]},
    ],
)
def test_a_wrong_shape_is_left_to_the_schema(tree: object) -> None:
    assert {finding.path for finding in findings(tree)} <= {("providers",)}


def refuse(text: str) -> None:
    if "good" not in text:
        raise ValueError("is no token")


def test_every_token_that_is_none_is_named_beside_whatever_else_is_wrong(
    desk: Desk,
) -> None:
    desk.write("good-2", "there")
    text = """
    port: 1
    providers:
      k:
        type: kimi
        tokens:
          - made-up
          - {name: good, token: good-1}
          - {name: filed, token_file: there}
          - {name: gone, token_file: nowhere}
          - {name: parts, token: [a, b, c]}
          - {name: shapeless, token: [a, b]}
          - name: late
            token: your-token
      other: {type: kimi, tokens: [{name: z, token: "${NOPE}"}, made-up-2]}
      keyed: {type: openai, base_url: http://h/v1, tokens: [any]}
    """
    with pytest.raises(ConfigError) as caught:
        load(str(desk.write(text)), {}, vet=refuse)
    said = [(found.line, found.path) for found in caught.value.problems]
    assert said == [
        (2, "port"),
        (7, "providers.k.tokens[0].token"),
        (10, "providers.k.tokens[3].token_file"),
        (11, "providers.k.tokens[4].token"),
        (12, "providers.k.tokens[5].token"),
        (14, "providers.k.tokens[6].token"),
        (15, "providers.other.tokens[0].token"),
        (15, "providers.other.tokens[1].token"),
    ]
    assert str(caught.value).count("is no token") == 3
    assert "made-up" not in str(caught.value)


def test_a_predecessors_token_that_is_none_is_called_by_its_variable(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.directory)
    with pytest.raises(ConfigError) as caught:
        load(None, {"KIMI_TOKEN": "good,bad"}, vet=refuse)
    assert str(caught.value) == "environment: KIMI_TOKEN: is no token"
