"""Tests of one module at a time, in seconds: no network, no containers, any user."""
