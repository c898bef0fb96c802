"""What the end-to-end tests stand on: an engine, base images, machines, a release to install."""
