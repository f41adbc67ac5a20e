"""`downstream demo`: a local web page on which a person tries a model (docs/downstream.md)."""
