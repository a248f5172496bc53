"""The client's languages: JSON in, `ChatRequest`; events in, bytes out."""
