"""What differs in an image: the container is root's, and slim images have no sudo."""

_sudo = False
