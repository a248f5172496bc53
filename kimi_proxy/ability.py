"""What a request asks for, held against what an upstream and its model can do."""

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import Unsupported
from kimi_proxy.providers.base import Provider
from kimi_proxy.shaping.pipeline import may_relay


def require_ability(
    request: ChatRequest, provider: Provider, model: Model | None
) -> None:
    """Raise `Unsupported`, naming the field, for what would not reach its end there.

    `model` is what is known of the route's model; what it takes is checked only where
    the upstream tells.
    """
    takes = None if model is None else model.modalities
    for attachment in (a for message in request.messages for a in message.attachments):
        if "attachments" not in provider.honours:
            raise Unsupported(f"{provider.name} takes no files", param=attachment.param)
        if model is not None and takes is not None and attachment.kind not in takes:
            raise Unsupported(
                f"{model.id} of {provider.name} takes no {attachment.kind}s",
                param=attachment.param,
            )
    # The client gets an answer to it only if the upstream's own words are handed on.
    relays = "relay" in provider.honours and may_relay(request, provider.honours)
    if request.needs and not relays:
        need = request.needs[0]
        raise Unsupported(need.message, param=need.param)
