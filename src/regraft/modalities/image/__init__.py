"""Images: decoding, preparation, augmentation, fingerprints."""

from regraft.contracts.modality import Modality
from regraft.modalities.image.prepare import Preparation

ENTRY = Modality(name="image", Preparation=Preparation)
