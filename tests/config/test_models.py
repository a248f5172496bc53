"""The section `models`: wildcards, chains, weights, parameters, and their mistakes."""

from __future__ import annotations

import pytest

from tests.config.conftest import Desk

ECHO = "providers: {e: {type: echo}, f: {type: echo}}\nmodels:\n"


def test_a_route_may_have_weights_and_bare_steps(desk: Desk) -> None:
    text = ECHO + "  m: {route: [{to: e/x, weight: 3}, {to: f/x}, e/y]}\n  n: [e/z]"
    models = desk.load(text).models
    assert [(step.to, step.weight) for step in models["m"].route] == [
        ("e/x", 3),
        ("f/x", None),
        ("e/y", None),
    ]


def test_parameters_that_are_given_are_kept(desk: Desk) -> None:
    text = ECHO + "  m: {route: e/x, params: {temperature: 0.2, max_tokens: 99}}"
    params = desk.load(text).models["m"].params
    assert params.model_dump(exclude_none=True) == {
        "temperature": 0.2,
        "max_tokens": 99,
    }


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ("  m: nope", "3: models.m.route[0]: must be written provider/model"),
        (
            "  m: [e/x, [f/x]]",
            "3: models.m.route[1]: must be provider/model,"
            " or {to: provider/model, weight: 1}",
        ),
        (
            "  m:\n    route:\n    - {to: e/x, weight: 0}",
            "5: models.m.route[0].weight: must be at least 1",
        ),
        (
            "  m:\n    route:\n    - to: e/x\n      weigth: 1",
            "6: models.m.route[0].weigth: is not a known key: did you mean weight?",
        ),
        (
            "  m:\n  - {to: g/x}",
            "4: models.m[0].to: names a provider that is not configured",
        ),
        (
            "  a/b: e/x\n  m:\n  - e/x\n  - a/b",
            "6: models.m[1]: is itself a name of models: write the provider/model"
            " that it leads to",
        ),
        (
            "  a/b: c/d\n  c/d: a/b",
            "3: models.a/b: is itself a name of models: write the provider/model"
            " that it leads to",
        ),
        (
            "  m:\n    route: e/*",
            "4: models.m.route: holds a *, but the name m has none that it could"
            " stand for",
        ),
        ("  m-*: e/*-*", "3: models.m-*: holds more than one *"),
        ("  m-*-*: e/x", "3: models.m-*-*: holds more than one *"),
        (
            "  e/*: f/*",
            "3: models.e/*: hides that provider's own model of this name",
        ),
        (
            "  gpt-*: e/x\n  '*': e/x\n  '*-mini': f/x",
            "3: models.gpt-*: and *-mini meet the same names, such as gpt-x-mini:"
            " say with gpt-*-mini what becomes of those",
        ),
        (
            "  m: {route: e/x, params: {temperature: 3}}",
            "3: models.m.params.temperature: must be at most 2",
        ),
        (
            "  m: {route: e/x, params: {zzz: 3}}",
            "3: models.m.params.zzz: is not a known key",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    desk: Desk, models: str, problem: str
) -> None:
    assert problem in desk.problems(ECHO + models)


@pytest.mark.parametrize(
    "models",
    [
        "  gpt-*: e/x\n  '*-mini': f/x\n  gpt-*-mini: e/y",
        "  gpt-*: e/x\n  gpt-4*: f/x\n  '*': e/*",
        "  '*-mini': e/x\n  '*-4-mini': f/x",
        "  gpt-*: e/x\n  claude-*-mini: f/x",
    ],
)
def test_wildcards_that_stand_clear_of_each_other_are_accepted(
    desk: Desk, models: str
) -> None:
    assert desk.load(ECHO + models).models
