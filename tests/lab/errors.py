"""What goes wrong in the lab itself, as against in what it tests."""


class LabError(Exception):
    """The lab lacks something; the message is a sentence that says what, and what to do about it."""
