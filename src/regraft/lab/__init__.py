"""Studies of architectures: claims about a network, measured again. Each public file defines one study."""
