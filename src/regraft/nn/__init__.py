"""Networks and their parts; whatever imports torch to build or train one comes through this room."""

from regraft.files import keep_in_cache

# torch's compiler, which optimisers and torchvision import, makes its folder at once, even if it never compiles
keep_in_cache("TORCHINDUCTOR_CACHE_DIR", "torchinductor")
