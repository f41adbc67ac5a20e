"""Raw corpora -> MDS shards. Runs offline and needs no GPU; nothing here imports torch by itself (streaming's writer does)."""
