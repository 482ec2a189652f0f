"""Images: decoding, preparation, augmentation, fingerprints."""

from regraft.modalities.image.modality import ImageModality

ENTRY = ImageModality()
