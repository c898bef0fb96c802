"""Values for images: commands run as root in the container, and slim images have no sudo."""

_sudo = False
