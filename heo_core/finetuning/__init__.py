"""Finetuning with MACE's own trainer, in a process of its own, followed epoch by epoch."""
