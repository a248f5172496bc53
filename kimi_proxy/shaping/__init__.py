"""What a client asks for and an upstream cannot do itself: done on the way."""
