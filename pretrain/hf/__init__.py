"""transformers' classes around the model, its tokenizer and its pictures. `pretrain export` puts them, and the modules that they need,
beside the weights (pretrain/export/sources.py), where `from_pretrained(DIR, trust_remote_code=True)` finds them.
"""
