"""Regularisers that keep fine-tuning close to the pretrained network on small data sets."""
