"""Moonshot's open platform and Kimi Code as strict local servers (Moonshot sheet)."""

from emulators.moonshot.emulator import MoonshotEmulator
from emulators.moonshot.error import MOONSHOT_ERRORS
from emulators.moonshot.kimi_code import KimiCodeEmulator
from emulators.moonshot.knob import MoonshotKnobs
from emulators.moonshot.model import MoonshotModel

__all__ = [
    "MOONSHOT_ERRORS",
    "KimiCodeEmulator",
    "MoonshotEmulator",
    "MoonshotKnobs",
    "MoonshotModel",
]
