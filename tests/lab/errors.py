"""Errors of the lab itself, not of the product."""


class LabError(Exception):
    """The lab can't do something; the message is one sentence with the reason and the remedy."""
