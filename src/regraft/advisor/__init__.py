"""Advice on which network to reuse and how much of it to retrain: transferability scores and estimated training
costs."""
