"""What a stranger might install: a modality of texts, networks, tasks and metrics for it, all as small as can be."""
