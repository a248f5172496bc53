"""Kimi's current web protocol as a strict local server (connect sheet §1–§13, §15)."""

from emulators.kimi_connect.account import Account, TokenPair
from emulators.kimi_connect.answer import Answer, SearchHit, bracket_citation, citation
from emulators.kimi_connect.emulator import KimiConnectEmulator
from emulators.kimi_connect.world import Knobs

__all__ = [
    "Account",
    "Answer",
    "KimiConnectEmulator",
    "Knobs",
    "SearchHit",
    "TokenPair",
    "bracket_citation",
    "citation",
]
