"""Fine-tune and evaluate a pre-trained model on the paper's benchmarks."""
