"""llama.cpp's server: `python -m tests.llama.serve MODEL KEY` prints its address."""

import sys
import threading

import xllamacpp


def main() -> None:
    settings = xllamacpp.CommonParams()
    settings.model.path, key = sys.argv[1:]
    settings.api_keys = [key]
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.model_alias = {"tiny"}
    settings.n_ctx = 1024
    settings.n_parallel = 2
    settings.n_gpu_layers = 0
    settings.warmup = False
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
