"""llama.cpp's own server as an upstream: one that nobody here wrote."""
