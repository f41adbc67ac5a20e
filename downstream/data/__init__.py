"""Readers of the benchmarks in their own layouts. (Multi30k's is pretrain/evaluation/multi30k.py: pre-training is judged on it too.)"""
