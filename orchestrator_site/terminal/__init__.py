"""What the commands share: how a terminal shows things, in whose name they act, and how they say that they cannot."""
