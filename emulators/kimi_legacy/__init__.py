"""Kimi's legacy REST + SSE protocol as a strict local server (legacy sheet §1–§10)."""

from emulators.kimi_legacy.answer import Answer, SearchHit
from emulators.kimi_legacy.credential import TokenPair
from emulators.kimi_legacy.emulator import KimiLegacyEmulator
from emulators.kimi_legacy.knob import Knobs

__all__ = ["Answer", "KimiLegacyEmulator", "Knobs", "SearchHit", "TokenPair"]
