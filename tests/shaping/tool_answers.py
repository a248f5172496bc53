"""Answers with tool calls in them, and how to read one in any cut."""

from collections.abc import Iterable

from kimi_proxy.shaping.tool_parser import Broken, Called, Piece, Said, ToolParser

NAMES = ("get_weather", "search-web")
# Everything that could end a call too early, inside one string.
ARGUMENTS = (
    '{"city": "Zür\\u00efch \\"}</tool_call>[/call]<|tool_call_end|></invoke> 北京 🙂",'
    ' "n": {"a": [1, -2.5e3, {"b": null}], "c": "\\\\"} , "t": true}'
)
CALL = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
SEARCH = '{"arguments":{},"name":"search-web"}'
WEATHER = Called("get_weather", ARGUMENTS)
SEARCHED = Called("search-web", "{}")
BOTH = [WEATHER, SEARCHED]
NESTED = f'{{"id": "c1", "type": "function", "function": {CALL}}}'
AS_STRING = '{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\\\n{\\"}"}'
OSLO = Called("get_weather", '{"city": "Oslo\\n{"}')
INVOKE = (
    '<invoke name="get_weather">\n<parameter name="city">Oslo <b>\n</parameter>'
    "\n<parameter name='n'>[1, 2]</parameter>\n</invoke>"
)
INVOKED = Called("get_weather", '{"city": "Oslo <b>", "n": [1, 2]}')


def kimi(name: str, arguments: str) -> str:
    middle = f"{name}<|tool_call_argument_begin|>{arguments}"
    return f"<|tool_call_begin|>{middle}<|tool_call_end|>"


FORMS: dict[str, tuple[str, list[Called]]] = {
    "ours": (
        f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{SEARCH}\n</tool_call>",
        BOTH,
    ),
    "ours, one line": (
        f"<tool_call>{CALL}</tool_call><tool_call> {SEARCH} </tool_call>",
        BOTH,
    ),
    "ours, CRLF": (f"<tool_call>\r\n{CALL}\r\n</tool_call>\r\n\r\n", [WEATHER]),
    "ours, two in one": (f"<tool_call>\n{CALL}\n{SEARCH}\n</tool_call>", BOTH),
    "ours, never closed": (f"<tool_call>\n{CALL}\n<tool_call>\n{SEARCH}", BOTH),
    "ours, closed wrongly": (f"<tool_call>\n{CALL}</function_call>", [WEATHER]),
    "ours, a list": (f"<tool_calls>[{CALL} ,\n {SEARCH}]</tool_calls>", BOTH),
    "ours, nested": (f"<tool_call>{NESTED}</tool_call>", [WEATHER]),
    "ours, JSON in a string": (f"<tool_call>{AS_STRING}</tool_call>", [OSLO]),
    "ours, no arguments": ('<tool_call>{"name": "search-web"}</tool_call>', [SEARCHED]),
    "ours, input": (
        '<tool_call>{"input":{},"name":"search-web"}</tool_call>',
        [SEARCHED],
    ),
    "ours, named in the tag": (
        f'<tool_call name="get_weather" id="c1">\n{ARGUMENTS}\n</tool_call>\n'
        '<function_call name="search-web"></function_call>',
        BOTH,
    ),
    "ours, Kimi's name": (
        '<tool_call>{"name": "functions.search-web:3", "arguments": {}}</tool_call>',
        [SEARCHED],
    ),
    "brackets": (
        f"[function_calls][call:get_weather]{ARGUMENTS}[/call]\n"
        "[call:search-web]\n{}\n[/call][/function_calls]",
        BOTH,
    ),
    "brackets, bare": (f"[call:get_weather] {ARGUMENTS} [/call]", [WEATHER]),
    "invoke": (f"<function_calls>\n{INVOKE}\n</function_calls>", [INVOKED]),
    "invoke, twice": (
        f'<function_calls>{INVOKE}<invoke name="search-web"></invoke></function_calls>',
        [INVOKED, SEARCHED],
    ),
    "invoke, JSON": (
        f'<invoke name="get_weather"><arguments>{ARGUMENTS}</arguments></invoke>',
        [WEATHER],
    ),
    "names": (
        f"<function_calls>\n<name>get_weather</name>\n<arguments>\n{ARGUMENTS}\n"
        "</arguments>\n<name> search-web </name><parameters>{}</parameters>\n"
        "</function_calls>",
        BOTH,
    ),
    "names in calls": (
        f"<function_calls><function_call><name>get_weather</name><arguments>{ARGUMENTS}"
        "</arguments></function_call></function_calls>",
        [WEATHER],
    ),
    "Kimi": (
        "<|tool_calls_section_begin|>"
        + kimi("functions.get_weather:0", ARGUMENTS)
        + kimi("functions.search-web:1", "{}")
        + "<|tool_calls_section_end|>",
        BOTH,
    ),
    "Kimi, a token missing": (
        "<|tool_calls_section_begin|>functions.get_weather:0"
        f"<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        [WEATHER],
    ),
    "Kimi, bare": (kimi("\nget_weather:12\n", f" {ARGUMENTS}\n"), [WEATHER]),
    "Kimi, no prefix": (kimi("search-web", ""), [SEARCHED]),
    "fence, json": (f"```json\n{CALL}\n```", [WEATHER]),
    "fence, bare list": (f"```\n[{CALL},{SEARCH}]\n```\n", BOTH),
    "fence, tool_calls": (
        f'```json\r\n{{"tool_calls": [{NESTED}, {SEARCH}]}}\r\n```',
        BOTH,
    ),
    "fence, labelled": (f"```tool_call\n{CALL}\n```", [WEATHER]),
    "fence, labelled, several": (f"~~~~ tool_calls\n{CALL}\n\n{SEARCH}\n~~~~", BOTH),
    "fence, our form": (f"```tool_call\n<tool_call>{CALL}</tool_call>\n```", [WEATHER]),
    "fence, not closed": (f"```json\n{CALL}", [WEATHER]),
}
# Of these no part may ever be read by the client.
MARKERS = (
    "<tool_call", "</tool_call", "<function_call", "</function_call",
    "[function_calls", "[/function_calls", "[call:", "[/call", "<|tool_call",
    "<invoke", "</invoke", "<parameter", "</parameter", "<arguments", "</arguments",
    "```", "~~~",
)  # fmt: skip


def read(parts: Iterable[str], names: Iterable[str] = NAMES) -> list[Piece]:
    """What a parser finds, neighbouring texts joined."""
    parser, found = ToolParser(tuple(names)), list[Piece]()
    for part in parts:
        found += parser.feed(part)
    return joined(found + parser.finish())


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    said, result = list[str](), list[Piece]()
    for piece in pieces:
        if isinstance(piece, Said):
            said.append(piece.text)
            continue
        result += [Said("".join(said))] if said else []
        result.append(piece)
        said = []
    return [*result, Said("".join(said))] if said else result


def texts(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Said))


def broken(pieces: Iterable[Piece]) -> list[Broken]:
    return [piece for piece in pieces if isinstance(piece, Broken)]
