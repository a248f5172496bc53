"""`python -m emulators NAME --port P`: one emulator with one account, as a process.

Its first line of output is JSON: `{"name", "url"}` with the account's credential as
`refresh_token` or `key`.
"""

import argparse
import importlib
import json
import signal
import sys
import threading
from collections.abc import Mapping

# name -> module and class; a class has start, stop, url and add_account, which returns
# tokens or a key.
EMULATORS: Mapping[str, str] = {
    "kilo": "emulators.kilo:KiloEmulator",
    "kimi-ai-chat": "emulators.kimi_ai_chat:KimiAiChatEmulator",
    "kimi-connect": "emulators.kimi_connect:KimiConnectEmulator",
    "kimi-legacy": "emulators.kimi_legacy:KimiLegacyEmulator",
    "kimi-code": "emulators.moonshot:KimiCodeEmulator",
    "moonshot": "emulators.moonshot:MoonshotEmulator",
    "openai": "emulators.openai:OpenAIEmulator",
    "qodo": "emulators.qodo:QodoEmulator",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the named emulator until SIGINT or SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m emulators")
    parser.add_argument("name", choices=sorted(EMULATORS))
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--account", default="alice", help="the account's name")
    options = parser.parse_args(arguments)
    module, _, kind = EMULATORS[options.name].partition(":")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    emulator = getattr(importlib.import_module(module), kind)()
    made = emulator.add_account(options.account)
    emulator.start(options.port)
    try:
        line = {"name": options.name, "url": emulator.url}
        line |= (
            {"key": made} if isinstance(made, str) else {"refresh_token": made.refresh}
        )
        print(json.dumps(line), flush=True)
        ended.wait()
    finally:
        emulator.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
