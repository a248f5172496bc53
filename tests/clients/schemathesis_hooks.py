"""What Schemathesis has to know of this gateway: its models, and what to ask of them.

Run in the environment of requirements-schemathesis.txt, as SCHEMATHESIS_HOOKS says.
Without it hardly a request would come further than to a model that does not exist.
"""

import json
import random
from typing import Any

import schemathesis

EMBEDDER = "text-embedding-3-small"
MODELS = ("kimi", "echo/echo", "scripted/play", "scripted/play")
# What the scripted provider does; see tests/http/scripted.py. Nothing here is held
# against its account, so that one request does not decide about another one.
SCRIPTS: tuple[list[list[Any]], ...] = (
    [["text", "words"], ["finish"]],
    [["think", "hm"], ["text", "words"], ["usage", 3, 2], ["finish", "length"]],
    [["text", "see"], ["cite", "https://a.example/", "A"], ["finish"]],
    [["call", 0, "call_1", "f", "{}"], ["call", 1, "call_2", "g", "{}"], ["finish"]],
    [["refuse", "no"], ["finish", "content_filter"]],
    [["finish"]],
    [["raise", "ContextTooLong"]],
    [["raise", "UpstreamRejected"]],
    [["text", "half"], ["raise", "ContentRefused"]],
)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """One body of four as it was made; of the others something that can be answered."""
    if not isinstance(body, dict) or "model" not in body:
        return body
    chance = random.Random(json.dumps(body, sort_keys=True, default=str))
    if chance.random() < 0.25:
        return body
    asked = context.operation.path
    if asked == "/v1/embeddings":
        return {**body, "model": EMBEDDER}
    model = chance.choice(MODELS)
    scripted = model == "scripted/play"
    words = json.dumps(chance.choice(SCRIPTS)) if scripted else "Say hello."
    needed: dict[str, Any] = {"model": model, "max_tokens": 100}
    if asked == "/v1/responses":
        needed = {"model": model, "input": words}
    else:
        needed["messages"] = [{"role": "user", "content": words}]
    # All fields at once are never all right: a few of them beside what is needed.
    others = sorted(body.keys() - needed.keys())
    kept = chance.sample(others, min(3, len(others)))
    return {**{name: body[name] for name in kept}, **needed}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """The name of a model that there is, mostly."""
    name = (path_parameters or {}).get("name")
    if not isinstance(name, str) or len(name) % 4 == 0:
        return path_parameters
    return {**path_parameters, "name": MODELS[len(name) % 4]}
