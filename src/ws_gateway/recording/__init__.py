"""Raw frames to files, beside the way of an event: what happened can be played again."""
