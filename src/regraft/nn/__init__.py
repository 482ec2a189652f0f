"""Networks and their parts; code that imports torch to build or train one does so through this package."""

from regraft.files import keep_in_cache

# torch's compiler, imported by optimisers and torchvision, creates its folder at once, even if it never compiles
keep_in_cache("TORCHINDUCTOR_CACHE_DIR", "torchinductor")
