"""Recordings: reading, resampling, log-mel spectrograms, augmentation, fingerprints."""

from regraft.modalities.sound.modality import SoundModality

ENTRY = SoundModality()
