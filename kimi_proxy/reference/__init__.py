"""The API as a document: what can be asked, in which shape, and what is answered."""
