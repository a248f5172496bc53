"""What is answered besides chats: models, files, tokens, and how the gateway is."""

from typing import Any, Literal

from pydantic import Field

from kimi_proxy.reference.shape import Told


class Model(Told):
    """A model under a name that clients may ask for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    supports_reasoning: bool | None = None
    input_modalities: list[str] | None = None
    capabilities: dict[str, bool] | None = None


class Models(Told):
    """All models that the key may use."""

    object: Literal["list"]
    data: list[Model]


class File(Told):
    """An uploaded file; `bytes` is its size, times are seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str


class Files(Told):
    """A page of the key's files."""

    object: Literal["list"]
    data: list[File]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(Told):
    """A file that is gone."""

    id: str
    object: Literal["file"]
    deleted: bool


class TokenQuestion(Told):
    """A token in whatever form it was pasted."""

    token: str = Field(min_length=1)
    provider: str | None = Field(
        default=None, description="Whose token it is, where several could be."
    )


class TokenReport(Told):
    """Whether a token is alive, and if not, why; times are seconds since 1970."""

    live: bool
    state: Literal[
        "ok", "refreshing", "cooling", "exhausted", "disabled", "dead", "unknown"
    ]
    reason: str | None
    kind: str
    region: str | None = None
    expires_at: float | None
    renewable: bool
    account: str | None
    until: float | None


class Alive(Told):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Told):
    """Whether the store works, and how many accounts of each provider do."""

    ready: bool
    store: str
    providers: dict[str, dict[str, int]]


class FrontDoor(Told):
    """What this is."""

    name: str
    version: str
    endpoints: list[str]


class Embeddings(Told):
    """What the upstream answered."""

    object: str | None = None
    data: list[dict[str, Any]] | None = None
    model: str | None = None


class EmbeddingsRequest(Told):
    """Texts, or lists of token numbers."""

    model: str
    input: str | list[Any]


class LegacyCompletion(Told):
    """What the upstream is to go on with."""

    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
