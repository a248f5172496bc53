"""What pydantic found wrong with a request, as the field the client wrote."""

from pydantic import ValidationError

from kimi_proxy.errors import InvalidRequest

LONGEST_PATH = 120  # characters
# What pydantic calls the branches of our unions, among the steps of a path.
_BRANCHES = frozenset({"str", "Address", "Source"})


def first_problem(exc: ValidationError) -> InvalidRequest:
    """The first error, at a path as OpenAI writes it: `messages[0].content`."""
    steps, message = deepest(exc)
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps
    ).lstrip(".")
    return InvalidRequest(message, param=path[:LONGEST_PATH])


def deepest(exc: ValidationError) -> tuple[list[int | str], str]:
    """The deepest error, since a union reports one for each of its branches: the steps
    to its field, which may be the client's own words, and what is wrong."""
    problem = max(exc.errors(include_url=False), key=lambda e: len(_path(e["loc"])))
    message, _, _ = problem["msg"].partition(" or instance of ")
    return _path(problem["loc"]), message


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """The field's path without the names pydantic gives to branches of a union."""
    return [
        step
        for step in loc
        if isinstance(step, int) or (step.isidentifier() and step not in _BRANCHES)
    ]
