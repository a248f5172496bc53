"""Other people's clients against the running gateway; see `make clients`."""
