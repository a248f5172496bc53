"""Qodo's three generations as a strict local server (qodo sheet §1–§4, §7)."""

from emulators.qodo.emulator import QodoEmulator
from emulators.qodo.knob import Knobs

__all__ = ["Knobs", "QodoEmulator"]
