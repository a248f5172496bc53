"""One OpenAI endpoint in front of your own chat accounts."""

__version__ = "0.1.0"
USER_AGENT = f"kimi-proxy/{__version__}"  # what every upstream is told
