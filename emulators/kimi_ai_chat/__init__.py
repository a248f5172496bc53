"""The site kimi-ai.chat as a strict local server (its sheet §2–§4, §7)."""

from emulators.kimi_ai_chat.emulator import KimiAiChatEmulator, Knobs

__all__ = ["KimiAiChatEmulator", "Knobs"]
