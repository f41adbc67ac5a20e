"""The benchmarks on the command line: one module each, which registers its verbs. A new one is added to `cli.py`'s list.

These modules import nothing that takes long: `--help` and mistakes need not wait for torch.
"""
