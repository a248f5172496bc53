"""A message history as one text, for upstreams that take a single prompt."""

from collections.abc import Iterator, Sequence

from kimi_proxy.chat import File, Message, ToolCall

# Without it the model may go on with an older question of the history (legacy sheet
# §8). It stands before the last message, so that the prompt ends with the user's words.
_HINT = "system: Answer the user's last message; the conversation so far is above it."


def merge(messages: Sequence[Message]) -> str:
    """The history as one prompt: `role: text` blocks, separated by an empty line.

    A single user message is passed on unchanged. Messages without any content are
    left out; all others keep their words and their place, system messages too. Tool
    calls and results become text that names the tool, the call's id and its JSON;
    files, which go up beside the prompt, become a line with their names.
    """
    told = [message for message in messages if _says_something(message)]
    if len(told) == 1 and told[0].role == "user":
        text = told[0].text
        return _attached(told[0].files) if not text.strip() else text
    return "\n\n".join(_blocks(told))


def _says_something(message: Message) -> bool:
    # The result of a tool says that the call is over even when it is empty.
    text = message.text
    blank = not text or text.isspace()
    more = message.tool_calls or message.files or message.role == "tool"
    return not blank or bool(more)


def _blocks(told: Sequence[Message]) -> Iterator[str]:
    hinted = _needs_hint(told)
    called: dict[str, str] = {}
    for place, message in enumerate(told, start=1):
        if hinted and place == len(told):
            yield _HINT
        called.update((call.id, call.name) for call in message.tool_calls)
        yield _block(message, called)


def _needs_hint(told: Sequence[Message]) -> bool:
    """Whether the last message is a question that follows other turns.

    After a tool's result or an assistant's opening words the model has to go on from
    there: pointing at the user's message would make it start again.
    """
    turns = sum(message.role != "system" for message in told)
    return turns > 1 and told[-1].role == "user"


def _block(message: Message, called: dict[str, str]) -> str:
    if message.role == "tool":
        head = _result_head(message, called)
    elif message.name:
        head = f"{message.role} ({message.name})"
    else:
        head = message.role
    lines = [_attached(message.files)] if message.files else []
    lines += [message.text] if message.text else []
    lines += [_call(call) for call in message.tool_calls]
    return f"{head}: " + "\n".join(lines)


def _result_head(message: Message, called: dict[str, str]) -> str:
    call_id = message.tool_call_id or ""
    name = message.name or called.get(call_id)
    facts = [f"result of {name}" if name else "result"]
    facts += [f"call {call_id}"] if call_id else []
    return f"tool ({', '.join(facts)})"


def _attached(files: Sequence[File]) -> str:
    return f"[attached: {', '.join(file.name for file in files)}]"


def _call(call: ToolCall) -> str:
    return f"[calls {call.name}, call {call.id}, with {call.arguments}]"
