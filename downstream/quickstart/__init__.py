"""`make demo`: shards from sample/, a short run, evaluation, a table and a picture. Every step is a command that a user could type."""
