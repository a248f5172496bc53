"""LangChain's standard tests of chat models, all of them, against a gateway.

Runs in the environment of requirements-frameworks.txt; GATEWAY and GATEWAY_KEY say
where the gateway is, whose models `gpt-4o` and `kimi` are those of `frameworks_house`.
"""

import os
import struct
import zlib
from types import SimpleNamespace

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

GATEWAY = os.environ["GATEWAY"]
KEY = os.environ["GATEWAY_KEY"]
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF"
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0"


def _png() -> bytes:
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    image = zlib.compress(b"\0\0")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", image) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch):
    """The suite takes its pictures from the internet: here they are made up."""
    made = {"png": _png(), "pdf": PDF, "wav": WAV}

    def get(url, **_):
        return SimpleNamespace(content=made[url.rpartition(".")[2]])

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "none is sent")


class _Standard(ChatModelIntegrationTests):
    """What holds for each model; a subclass says which one, and in which dialect."""

    model_name = "gpt-4o"
    counted = ("reasoning_output", "cache_read_input")

    @property
    def model_override_value(self):
        return "kimi" if self.model_name == "gpt-4o" else "gpt-4o"

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True

    @property
    def supports_image_urls(self):
        """For a web account the gateway fetches them, and has no internet here."""
        return self.model_name == "gpt-4o"

    @property
    def supported_usage_metadata_details(self):
        """A web account counts no tokens; what the gateway estimates has no details."""
        if self.model_name == "kimi":
            return {"invoke": [], "stream": []}
        return {"invoke": self.counted, "stream": self.counted}

    def test_too_long_a_prompt_is_known_as_such(self):
        """Not one of the suite's: what shortens histories goes by this exception."""
        short = {"model": "openai/gpt-3.5-turbo"}
        model = self.chat_model_class(**{**self.chat_model_params, **short})
        with pytest.raises(ContextOverflowError):
            model.invoke("long " * 20_000)
        with pytest.raises(ContextOverflowError):
            list(model.stream("long " * 20_000))

    def invoke_with_reasoning_output(self, *, stream=False):
        return self._said(stream)

    def invoke_with_cache_read_input(self, *, stream=False):
        return self._said(stream)

    def _said(self, stream):
        model = self.chat_model_class(**self.chat_model_params)
        if not stream:
            return model.invoke("Hello")
        first, *rest = model.stream("Hello")
        for chunk in rest:
            first += chunk
        return first


class _Chat(_Standard):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {
            "model": self.model_name,
            "base_url": f"{GATEWAY}/v1",
            "api_key": KEY,
            "stream_usage": True,
            "max_retries": 0,
        }

    @property
    def supports_audio_inputs(self):
        """Sound is for upstreams of OpenAI's own dialect."""
        return self.model_name == "gpt-4o"


class _Responses(_Chat):
    supports_audio_inputs = False  # OpenAI's own /v1/responses takes none

    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "use_responses_api": True}


class _Messages(_Standard):
    counted = ("cache_read_input",)  # Anthropic's dialect does not count thinking

    @property
    def chat_model_class(self):
        return ChatAnthropic

    @property
    def chat_model_params(self):
        return {
            "model": self.model_name,
            "base_url": GATEWAY,
            "api_key": KEY,
            "max_retries": 0,
        }


class TestChatApi(_Chat):
    pass


class TestChatWeb(_Chat):
    model_name = "kimi"


class TestResponsesApi(_Responses):
    pass


class TestResponsesWeb(_Responses):
    model_name = "kimi"


class TestMessagesApi(_Messages):
    pass


class TestMessagesWeb(_Messages):
    model_name = "kimi"
