"""In place of Weights & Biases, which timm and DeepSpeed import: see mlflow.py beside."""

raise ImportError('tests of trackers take this folder off PYTHONPATH')
