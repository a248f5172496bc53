"""Any OpenAI-compatible upstream as a strict local server."""

from emulators.openai.answer import Answer, Choice, ToolCall, in_turn, quote
from emulators.openai.emulator import OpenAIEmulator
from emulators.openai.event_stream import respell
from emulators.openai.further_error import FURTHER_ERRORS
from emulators.openai.knob import Knobs, Spelling
from emulators.openai.model import Model
from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal, refuse
from emulators.openai.vendor_error import ERRORS
from emulators.openai.wait import Wait

__all__ = [
    "ERRORS",
    "FURTHER_ERRORS",
    "Answer",
    "Choice",
    "Knobs",
    "Model",
    "OpenAIEmulator",
    "Recording",
    "Refusal",
    "Spelling",
    "ToolCall",
    "Wait",
    "in_turn",
    "quote",
    "refuse",
    "respell",
]
