"""The tests: units in seconds, then real machines, images and clients."""
