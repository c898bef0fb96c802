"""Everything that depends on how pyinfra works inside, beyond its documented interface. Seen in pyinfra 3.10.0.

Each use says where it was seen and what breaks if pyinfra changes there. The unit tests of the fleet, of the image and
of the deploy run pyinfra itself, so a change shows in them first.
"""
