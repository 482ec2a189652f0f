"""Interfaces and data classes that backbones, tasks, modalities, strategies and other entries implement."""
