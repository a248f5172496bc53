"""Kilo's gateway and account API as a strict local server (kilo sheet, §8)."""

from emulators.kilo.emulator import KiloEmulator
from emulators.kilo.knob import Answer, Knobs

__all__ = ["Answer", "KiloEmulator", "Knobs"]
