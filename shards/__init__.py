"""The contract between those who write shards (data_pipeline) and those who read them (pretrain, downstream).

Column names and manifest (`schema`), language codes (`languages`), tokenizer (`tokenizer`) and the error that a user sees (`errors`).
"""
