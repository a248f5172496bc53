"""The upstreams: each turns a `ChatRequest` into its wire and the wire into events."""
