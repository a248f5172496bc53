"""One OpenAI endpoint in front of your own chat accounts."""

__version__ = "0.1.0"
