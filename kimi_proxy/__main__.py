"""`python -m kimi_proxy` is the `kimi-proxy` command."""

from kimi_proxy.cli import main

if __name__ == "__main__":
    main(prog_name="kimi-proxy")
