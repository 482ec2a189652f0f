"""The shelf of regularisers: what holds fine-tuning back to the pretrained network where data are scarce."""
