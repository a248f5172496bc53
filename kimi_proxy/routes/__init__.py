"""The web: Flask's side of the gateway, which sees no provider, storage or pool."""
