"""Studies of architectures: what is claimed about a network, re-measured. A public file is one study."""
