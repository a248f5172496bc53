"""What pydantic found wrong with a request, as the field the client wrote."""

from pydantic import ValidationError

from kimi_proxy.errors import InvalidRequest

_LONGEST_PATH = 120


def first_problem(exc: ValidationError) -> InvalidRequest:
    """The deepest error, since a union reports one for each of its branches."""
    problem = max(exc.errors(include_url=False), key=lambda e: len(_path(e["loc"])))
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}"
        for step in _path(problem["loc"])
    ).lstrip(".")
    message = problem["msg"].partition(" or instance of ")[0]
    path = path[:_LONGEST_PATH]  # keys of the client's own are part of it
    return InvalidRequest(f"{path}: {message}", param=path)


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """The field's path without the names pydantic gives to branches of a union."""
    branches = {"str", "Address"}
    return [
        s for s in loc if isinstance(s, int) or (s.isidentifier() and s not in branches)
    ]
