"""Tests of the deploy on real machines and images, with real clients."""
